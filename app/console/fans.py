"""Fans."""

from collections.abc import Callable

from flask import Blueprint, render_template

Forget = Callable[[str], None]
"""Forget what is kept of the fan with this openid beside the database."""


def add_fans(site: Blueprint, forget: Forget) -> None:
    """Put the page on ``site``."""

    @site.get("/fans")
    def fans() -> str:
        return render_template("console/fans.html")
