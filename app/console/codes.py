"""QR codes."""

from flask import Blueprint, render_template


def add_codes(site: Blueprint) -> None:
    """Put the page on ``site``."""

    @site.get("/codes")
    def codes() -> str:
        return render_template("console/codes.html")
