"""Fans: those who logged in, what is stored of one, and the end of it."""

import json
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for

from app.api import get_api
from app.callback.road import Road
from app.console.access import audit
from app.console.messages import MOST_OPENID_CHARACTERS, budget_of
from app.pages import say
from app.store.fans import delete_fan, find_fan, find_fans
from app.store.models import Fan
from log import masked

_MOST_CHARACTERS = 255


def add_fans(site: Blueprint, road: Road) -> None:
    """Put the pages on ``site``; ``road`` knows what is kept of a fan beside the database."""

    @site.get("/fans")
    def fans() -> Any:
        # One fan has no path of their own: nginx's log has the path, and an openid must not be in it.
        if "openid" not in request.args:
            return _list()
        found = _find(request.args["openid"])
        return _details(found, road) if found else _nobody()

    @site.post("/fans/delete")
    def delete_one() -> Any:
        api, found = get_api(), _find(request.form.get("openid", ""))
        if found is None:
            return _nobody()
        if not api.cache.answers():
            return _details(
                found, road, say("缓存不可用，未删除任何数据。", "The cache fails: nothing was deleted.")
            ), 503
        audit("delete a fan", openid=masked(found.openid))
        road.forget(found.openid)  # first: where the database fails now, the fan is still there to be deleted once more
        delete_fan(api.settings.account, found.openid)
        return redirect(url_for(".fans", deleted=1), 303)


def _list() -> str:
    text = request.args.get("q", "").strip()[:_MOST_CHARACTERS]
    found = find_fans(get_api().settings.account, text, request.args.get("page", 1, type=int))
    shown = {"q": text, "most": _MOST_CHARACTERS, "deleted": "deleted" in request.args}
    return render_template("console/fans.html", found=found, **shown)


def _find(openid: str) -> Fan | None:
    could_be = len(openid) <= MOST_OPENID_CHARACTERS and "\x00" not in openid  # that PostgreSQL does not take
    return find_fan(get_api().settings.account, openid) if could_be else None


def _details(fan: Fan, road: Road, wrong: str = "") -> str:
    session, waiting = road.kept_of(fan.openid)
    kept = {
        "cache_answers": get_api().cache.answers(),
        "session_json": json.dumps(session, ensure_ascii=False, indent=2) if session else "",
        "waiting": waiting,
    }
    return render_template("console/fans_one.html", here=".fans", fan=fan, wrong=wrong, **kept, **budget_of(fan.openid))


def _nobody() -> tuple[str, int]:
    return render_template("console/fans_nobody.html", here=".fans"), 404
