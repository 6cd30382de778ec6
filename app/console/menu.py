"""Menu."""

from flask import Blueprint, render_template

from app.callback.dispatch import Table


def add_menu(site: Blueprint, table: Table) -> None:
    """Put the page on ``site``."""

    @site.get("/menu")
    def menu() -> str:
        return render_template("console/menu.html")
