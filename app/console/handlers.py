"""Handlers."""

from flask import Blueprint, render_template

from app.callback.dispatch import Table


def add_handlers(site: Blueprint, table: Table) -> None:
    """Put the page on ``site``."""

    @site.get("/handlers")
    def handlers() -> str:
        return render_template("console/handlers.html")
