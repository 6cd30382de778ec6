"""The console's pages: which there are, and what is shown where one fails."""

from typing import Any

from flask import Flask, g, render_template, request, url_for

from app.cache import Cache
from app.callback.road import Road
from app.config import Settings
from app.console.access import guard
from app.console.codes import add_codes
from app.console.doctor import add_doctor
from app.console.fans import add_fans
from app.console.handlers import add_handlers
from app.console.history import History
from app.console.menu import add_menu
from app.console.messages import add_messages
from app.console.overview import Ready, add_overview
from app.errors import StoreError
from app.pages import pages, say
from app.table.dispatch import Table

_SECTIONS = (
    (".overview", "概览", "Overview"),
    (".handlers", "处理函数", "Handlers"),
    (".menu", "自定义菜单", "Menu"),
    (".codes", "二维码", "QR codes"),
    (".fans", "用户", "Fans"),
    (".messages", "客服消息", "Messages"),
    (".doctor", "体检", "Doctor"),
)


def mount_console(app: Flask, settings: Settings, table: Table, cache: Cache, road: Road, ready: Ready) -> History:
    """Put the console on ``app``, for whoever knows the password of ``settings``, and return the history it shows.

    ``ready()`` tells what of that which a message needs answers.
    """
    site = pages("console", "/console")
    guard(site, settings, cache)
    site.context_processor(lambda: {"sections": _SECTIONS, "here": f".{str(request.endpoint).rpartition('.')[2]}"})
    site.errorhandler(StoreError)(_without_database)
    site.errorhandler(404)(_not_there)
    history = add_overview(site, app, settings, ready)
    add_handlers(site, table)
    add_menu(site, table)
    add_codes(site)
    add_fans(site, road)
    add_messages(site)
    add_doctor(site, settings, table)
    app.register_blueprint(site)
    return history


def _without_database(error: StoreError) -> Any:
    text = f"{say('数据库不可用', 'the database cannot be used')}: {error}"
    if "HX-Request" in request.headers:
        return text, 503, {"Content-Type": "text/plain; charset=utf-8"}
    heading = say("数据库不可用", "The database cannot be used")
    again = request.script_root + request.full_path if request.method == "GET" else url_for(".overview")
    return render_template("console/failed.html", heading=heading, reason=str(error), again=again), 503


def _not_there(error: Exception) -> Any:
    if "operator" not in g or "HX-Request" in request.headers:
        return error
    heading, reason = say("没有这个页面", "There is no such page"), say("可能已被删除。", "It may have been deleted.")
    return render_template("console/failed.html", heading=heading, reason=reason, again=url_for(".overview")), 404
