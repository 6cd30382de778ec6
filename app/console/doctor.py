"""Doctor."""

from flask import Blueprint, render_template

from app.callback.dispatch import Table
from app.config import Settings


def add_doctor(site: Blueprint, settings: Settings, table: Table) -> None:
    """Put the page on ``site``."""

    @site.get("/doctor")
    def doctor() -> str:
        return render_template("console/doctor.html")
