"""The doctor's lines: the same as those of ``flask wechat doctor``."""

from flask import Blueprint, render_template

from app.config import Settings
from app.doctor import examine
from app.table.dispatch import Table


def add_doctor(site: Blueprint, settings: Settings, table: Table) -> None:
    """Put the page on ``site``; the lines follow after it, since the doctor asks WeChat and others."""

    @site.get("/doctor")
    def doctor() -> str:
        return render_template("console/doctor.html")

    @site.get("/doctor/lines")
    def doctor_lines() -> str:
        return render_template("console/doctor_lines.html", findings=list(examine(settings, table)))
