"""QR codes: made, listed with what they brought, drawn, and printed."""

import io
import json
import re
import time
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from flask import Blueprint, abort, redirect, render_template, request, send_file, url_for

from app.api import create_qrcode, get_api
from app.api.qrcodes import as_code, wanted_code
from app.console.access import audit
from app.errors import ApiError, ConfigError, StoreError
from app.pages import say
from app.store.models import QrCode
from app.store.qrcodes import Days, codes, codes_by_id, counts_by_day, find_code, latest_codes, number_of_codes

_ON_A_PAGE, _MOST_PRINTED, _DAYS = 50, 1000, 30
_MOST_SCENE_CHARACTERS = 64
_UNITS = {"days": 86400, "hours": 3600, "seconds": 1}
_SIZES = ("S", "M", "L")
_MOST_ID = 2**31 - 1  # what a database takes for one
_ID = f"<int(max={_MOST_ID}):code_id>"


class Day(NamedTuple):
    """What a scene brought on one day (YYYY-MM-DD)."""

    day: str
    scans: int
    follows: int

    @property
    def both(self) -> int:
        """Scans and follows together."""
        return self.scans + self.follows


def add_codes(site: Blueprint) -> None:
    """Put the pages of the QR codes on ``site``."""
    site.get("/codes", endpoint="codes")(_list)
    site.get("/codes/new", endpoint="codes_new")(_form)
    site.post("/codes/new", endpoint="codes_make")(_make)
    site.get("/codes/sheet", endpoint="codes_sheet")(_sheet)
    site.get(f"/codes/{_ID}", endpoint="code")(_details)
    site.get(f"/codes/{_ID}.<any(png, svg):kind>", endpoint="code_picture")(_picture)


def _list() -> str:
    """GET /console/codes?q=PART&page=NUMBER."""
    account, part = _account(), _part()
    found = number_of_codes(account, part)
    last = max(1, -(-found // _ON_A_PAGE))
    page = min(max(1, request.args.get("page", 1, type=int)), last)
    rows = codes(account, _ON_A_PAGE, part, (page - 1) * _ON_A_PAGE)
    days = _last_days()
    counts = counts_by_day(account, {code.scene for code, _, _ in rows}, days[0])
    shown = [(code, scans, follows, _each(days, counts[code.scene])) for code, scans, follows in rows]
    values = {"q": part, "found": found, "page": page, "last": last}
    return _page("codes.html", rows=shown, **values)


def _form(wrong: str = "") -> str:
    """GET /console/codes/new; with what is ``wrong``, what was typed is still there."""
    return _page("codes_new.html", wrong=wrong)


def _make() -> Any:
    """POST /console/codes/new: scene, kind (str or int), unit (permanent, or a key of _UNITS), amount."""
    try:
        scene, expire_seconds = _asked_for()
        create_qrcode(scene, expire_seconds)
    except (ValueError, ApiError, ConfigError, StoreError) as error:
        if isinstance(error, ApiError):
            audit("make a QR code: failed", scene=scene, errcode=error.errcode)
        return _form(_in_words(error)), 422
    audit("make a QR code", scene=scene, expire_seconds=expire_seconds)
    made = find_code(wanted_code(_account(), scene, expire_seconds))
    return redirect(url_for(".code", code_id=made.id) if made else url_for(".codes"), 303)


def _in_words(error: Exception) -> str:
    said, rules = str(error), f"场景值应为 1 到 {_MOST_SCENE_CHARACTERS} 个可见字符，首尾无空格；数字应在范围内"
    if isinstance(error, ApiError) and error.errcode is None and "qrcode/create" in error.errmsg:
        doubt = ("微信没有正常回应，二维码可能已经生成", "WeChat did not answer as it should, and may have made it")
        return f"{say(*doubt)}: {said}"
    if said.startswith("scene is"):
        said = say(rules, said.replace(", or a str", ""))
    elif said.startswith("expire_seconds is"):
        said = say("有效期应为 1 秒到 30 天", "a temporary code lives for 1 second to 30 days")
    return say("没有生成：", "Not made: ") + said


def _asked_for() -> tuple[int | str, int | None]:
    """Return the scene and its life in seconds, as typed. Raises ValueError for what is no number."""
    text, amount = (request.form.get(name, "").strip() for name in ("scene", "amount"))
    scene = _number(text, say("场景值", "The scene")) if request.form.get("kind") == "int" else text
    unit = request.form.get("unit", "")
    if unit in _UNITS:
        return scene, _number(amount, say("时长", "The lifetime")) * _UNITS[unit]
    if unit != "permanent" or amount:  # what has a number was not meant for ever
        wrong = (
            f"时长填了 {amount}：请选择单位；永久二维码请留空",
            f"choose a unit for {amount}, or leave the number empty for a permanent code",
        )
        raise ValueError(say(*wrong))
    return scene, None


def _number(text: str, name: str) -> int:
    if not re.fullmatch("[0-9]{1,20}", text):
        raise ValueError(say(f"{name}“{text[:64]}”不是整数", f"{name} is {text[:64]!r}; expected a whole number"))
    return int(text)


def _details(code_id: int) -> str:
    """GET /console/codes/ID."""
    code = _found(code_id)
    counts = counts_by_day(code.appid, [code.scene])[code.scene]
    scans, follows = (sum(day[which] for day in counts.values()) for which in (0, 1))
    days = _each(_last_days(), counts)
    scene = json.dumps(code.scene, ensure_ascii=False)  # which Python reads in the same way
    return _page("codes_one.html", code=code, scans=scans, follows=follows, days=days, scene=scene)


def _picture(code_id: int, kind: str) -> Any:
    """GET /console/codes/ID.png or .svg: a file named after the scene."""
    code = _found(code_id)
    drawn = as_code(code).png() if kind == "png" else as_code(code).svg()
    # Before the scene, so that no scene makes a hidden file, or a name that an operating system keeps for itself.
    name = "qr-" + re.sub(r"[^\w.-]+", "-", code.scene) + f".{kind}"
    mimetype = "image/png" if kind == "png" else "image/svg+xml"
    return send_file(io.BytesIO(drawn), mimetype, as_attachment=True, download_name=name)


def _sheet() -> str:
    """GET /console/codes/sheet?id=ID&id=ID…, or ?all=1&q=PART; size=S, M or L."""
    account, part = _account(), _part()
    ids = [number for number in request.args.getlist("id", type=int) if 0 < number <= _MOST_ID][:_MOST_PRINTED]
    is_all = "all" in request.args
    chosen: dict[str, Any] = {"all": 1, "q": part} if is_all else {"id": ids}
    found = latest_codes(account, _MOST_PRINTED, part) if is_all else codes_by_id(account, ids)
    left_out = number_of_codes(account, part) - len(found) if is_all else 0
    living = [code for code in found if not _is_ended(code)]
    size = request.args.get("size", "M")
    sizes = {"size": size if size in _SIZES else "M", "sizes": _SIZES, "chosen": chosen}
    return _page("codes_sheet.html", codes=living, ended=len(found) - len(living), left_out=left_out, **sizes)


def _page(template: str, **values: Any) -> str:
    own = {"here": ".codes", "is_ended": _is_ended, "most_printed": _MOST_PRINTED}
    return render_template(f"console/{template}", **own, **values)


def _account() -> str:
    return get_api().settings.account


def _part() -> str:
    """Return what is searched for: no scene holds what cannot be printed, and PostgreSQL refuses some of it."""
    return "".join(filter(str.isprintable, request.args.get("q", ""))).strip()[:_MOST_SCENE_CHARACTERS]


def _found(code_id: int) -> QrCode:
    found = codes_by_id(_account(), [code_id])
    return found[0] if found else abort(404)


def _is_ended(code: QrCode) -> bool:
    return 0 < code.ends_at <= time.time()


def _last_days() -> list[str]:
    today = date.today()  # of this machine, as they are counted
    return [(today - timedelta(ago)).isoformat() for ago in reversed(range(_DAYS))]


def _each(days: Sequence[str], counts: Days) -> list[Day]:
    return [Day(day, *counts.get(day, (0, 0))) for day in days]
