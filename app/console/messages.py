"""Messages."""

from flask import Blueprint, render_template


def add_messages(site: Blueprint) -> None:
    """Put the page on ``site``."""

    @site.get("/messages")
    def messages() -> str:
        return render_template("console/messages.html")
