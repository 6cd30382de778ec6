"""The overview: what came, how it was answered, and what is wrong, over the last hour or day."""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, abort, render_template, request

import log
from app import metrics
from app.api import Api, get_api
from app.cache import to_json
from app.config import Settings
from app.console.charts import bars, clock, curves
from app.console.errors import LastErrors
from app.console.history import SPANS, History, Step
from app.errors import ApiError, ConfigError, StoreError
from app.pages import say

_QUOTA_SECONDS = 600
_MOST_QUOTAS = 12
# What WeChat answers for a call that has no quota of its own.
_NO_QUOTA = (76021, 76022)
_GROUPS = (
    ("messages", "消息（按类型）", "Messages by type"),
    ("deliveries", "推送（第几次）", "Deliveries by their number"),
    ("late", "延迟回复", "Late answers"),
    ("refused", "拒绝的请求", "Refused requests"),
    ("calls", "接口调用", "API calls"),
)
Ready = Callable[[], dict[str, bool]]


def add_overview(site: Blueprint, app: Flask, settings: Settings, ready: Ready) -> History:
    """Put the overview on ``site``, and return the history that it shows. ``ready`` tells what answers."""
    history = History(app, settings.account)
    uwsgi = sys.modules.get("uwsgi")
    errors = LastErrors(metrics.folder(), uwsgi.worker_id() if uwsgi else 0)
    log.add_listener(errors.note, logging.ERROR)

    def shown(template: str) -> str:
        span = request.args.get("span", "hour")
        if span not in SPANS:
            abort(404)
        return render_template(template, span=span, now=clock(int(time.time())), **_seen(history, span, ready, errors))

    site.get("/", endpoint="overview")(lambda: shown("console/overview.html"))
    site.get("/live", endpoint="live")(lambda: shown("console/live.html"))
    site.get("/quotas", endpoint="quotas")(lambda: _quotas(history))
    return history


def _seen(history: History, span: str, ready: Ready, errors: LastErrors) -> dict[str, Any]:
    """Return what the page shows; where the database is down, all but the charts."""
    steps, wrong, unkept = [Step(int(time.time()))], "", ""
    try:
        history.keep()
    except StoreError as error:  # a database that cannot be written to may still be read
        unkept = str(error)
    try:
        steps = history.steps(span)
    except StoreError as error:
        wrong = str(error)
    charts = [bars(say(*title), [(step.begins, step.of(group)) for step in steps]) for group, *title in _GROUPS]
    seconds = curves(
        say("回答用时（秒）", "Seconds to the answer"), [(step.begins, step.of("seconds")) for step in steps]
    )
    total: Counter[str] = sum((step.counts for step in steps), Counter())
    return {
        "charts": charts,
        "seconds": seconds,
        "total": total,
        "wrong": wrong,
        "unkept": unkept,
        "ready": ready(),
        **_in_flight(),
        "api_errors": sum(count for name, count in total.items() if name.startswith("errcodes/")) - total["errcodes/0"],
        "refused": sum(count for name, count in total.items() if name.startswith("refused/")),
        "token": _token(get_api()),
        "errors": errors.last(),
    }


def _in_flight() -> dict[str, Any]:
    seen = {(name, labels.get("place", "")): int(value) for name, labels, value in metrics.samples()}
    places = ("inline", "thread", "loop")
    return {
        "in_flight": {place: seen["wechat_handlers_in_flight", place] for place in places},
        "bound": {place: seen["wechat_handlers_in_flight_bound", place] for place in places},
        "held": seen["wechat_held_deliveries", ""],
    }


def _token(api: Api) -> Any:
    return api.client.token_state if api.settings.has_api else None


def _quotas(history: History) -> str:
    """GET /console/quotas: what is left today of the calls that were made in the last day; WeChat is asked."""
    calls = sum((step.of("calls") for step in history.steps("day")), Counter())
    rows, wrong = [], ""
    for path, count in calls.most_common(_MOST_QUOTAS):
        quota = None
        if not wrong and path.startswith("/cgi-bin/"):
            try:
                quota = _quota(get_api(), path)
            except (ApiError, ConfigError) as error:
                wrong = str(error)
        rows.append((path, count, quota))
    return render_template("console/quotas.html", rows=rows, wrong=wrong)


def _quota(api: Api, path: str) -> Any:
    """Return daily_limit, used and remain of a call, at most ten minutes old; None where it has none.

    Raises ApiError where the next one need not be asked for, either; ConfigError.
    """
    key = api.cache.key("quota", path)
    if (kept := api.cache.get(key)) is not None:
        return json.loads(kept)
    try:
        said = api.client.get_api_quota(path)
        quota = {name: int(said[name]) for name in ("daily_limit", "used", "remain")}
    except (KeyError, TypeError, ValueError):
        quota = None
    except ApiError as error:
        if error.errcode not in _NO_QUOTA:
            raise
        quota = None
    api.cache.set(key, to_json(quota), _QUOTA_SECONDS)
    return quota
