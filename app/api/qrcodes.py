"""QR codes with a scene: a permanent one is asked for once, a temporary one again shortly before its end."""

import io
import logging
import time
from importlib import import_module
from typing import Any, NamedTuple

from app.api.client import Client
from app.errors import ApiError, StoreError
from app.store.models import QrCode as Row
from app.store.qrcodes import Wanted, claim_code, find_code, keep_code, release_code

_PERMANENT = 0
_MOST_SECONDS, _MOST_SCENE_CHARACTERS = 2592000, 64
_MOST_PERMANENT_ID, _MOST_TEMPORARY_ID = 100_000, 2**32 - 1
_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.1
logger = logging.getLogger("wechat.api")


class QrCode(NamedTuple):
    """A code: its ``url`` is what the picture says; ``ends_at`` is in seconds since 1970, 0 for never."""

    scene: int | str
    ticket: str
    url: str
    expire_seconds: int
    ends_at: int

    def png(self, scale: int = 10) -> bytes:
        """Return the picture as PNG, drawn here, with ``scale`` pixels a dot."""
        return self._drawn("png", scale)

    def svg(self, scale: int = 10) -> bytes:
        """Return the picture as SVG, drawn here."""
        return self._drawn("svg", scale)

    def text(self) -> str:
        """Return the picture in characters, for a terminal."""
        picture = io.StringIO()
        self._code().terminal(picture, compact=True)
        return picture.getvalue()

    def _drawn(self, kind: str, scale: int) -> bytes:
        picture = io.BytesIO()
        self._code().save(picture, kind=kind, scale=scale, border=4)
        return picture.getvalue()

    def _code(self) -> Any:
        # Loaded where a code is drawn: few workers ever draw one.
        return import_module("segno").make(self.url, error="m", micro=False)


def create(client: Client, appid: str, scene: int | str, expire_seconds: int | None = None) -> QrCode:
    """Return the code for ``scene``: permanent, or one that lives for ``expire_seconds`` when it is made anew.

    Raises ValueError for what WeChat would not take, before any call; ApiError; StoreError.
    """
    wanted = wanted_code(appid, scene, expire_seconds)
    # A code that has been used up to here is not worth handing out.
    margin_seconds = min(300, wanted.expire_seconds // 10)
    give_up = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < give_up:
        if found := find_code(wanted, margin_seconds):
            return as_code(found)
        if claim := claim_code(wanted):
            # Somebody may have made it between the look and the claim.
            found = find_code(wanted, margin_seconds)
            return _released(wanted, claim, found) if found else _made(client, wanted, claim)
        time.sleep(_POLL_SECONDS)
    raise ApiError(None, f"QR code {scene!r}: somebody else has been asking for it for {_WAIT_SECONDS:g} s")


def wanted_code(appid: str, scene: int | str, expire_seconds: int | None) -> Wanted:
    """Return the code that is meant. Raises ValueError that says which argument is wrong."""
    # https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html
    if isinstance(expire_seconds, bool) or not isinstance(expire_seconds, int | None):
        raise ValueError(
            f"expire_seconds is {type(expire_seconds).__name__}; expected an int, or None for a permanent code"
        )
    if expire_seconds is not None and not 1 <= expire_seconds <= _MOST_SECONDS:
        raise ValueError(
            f"expire_seconds is {expire_seconds}; expected 1 to {_MOST_SECONDS} (30 days), or None for ever"
        )
    if isinstance(scene, bool) or not isinstance(scene, int | str):
        raise ValueError(f"scene is {type(scene).__name__}; expected an int or a str")
    most = _MOST_PERMANENT_ID if expire_seconds is None else _MOST_TEMPORARY_ID
    if isinstance(scene, int) and not 1 <= scene <= most:
        raise ValueError(f"scene is {scene}; expected 1 to {most}, or a str")
    if isinstance(scene, str) and (
        not 1 <= len(scene) <= _MOST_SCENE_CHARACTERS or scene != scene.strip() or not scene.isprintable()
    ):
        raise ValueError(
            f"scene is {scene!r}; expected 1 to {_MOST_SCENE_CHARACTERS} visible characters, without outer space"
        )
    kind = "int" if isinstance(scene, int) else "str"
    return Wanted(appid, kind, str(scene), _PERMANENT if expire_seconds is None else expire_seconds)


def as_code(row: Row) -> QrCode:
    """Return what the database holds as a code."""
    scene = int(row.scene) if row.kind == "int" else row.scene
    return QrCode(scene, row.ticket or "", row.url or "", row.expire_seconds, row.ends_at)


def _released(wanted: Wanted, claim: str, found: Row) -> QrCode:
    release_code(wanted, claim)
    return as_code(found)


def _made(client: Client, wanted: Wanted, claim: str) -> QrCode:
    is_int, is_temporary = wanted.kind == "int", wanted.expire_seconds != _PERMANENT
    scene: dict[str, Any] = {"scene_id": int(wanted.scene)} if is_int else {"scene_str": wanted.scene}
    action = f"QR_{'' if is_temporary else 'LIMIT_'}{'' if is_int else 'STR_'}SCENE"
    data: dict[str, Any] = {"action_name": action, "action_info": {"scene": scene}}
    if is_temporary:
        data["expire_seconds"] = wanted.expire_seconds
    try:
        answer = client.qrcode.create(data)
        ticket, url = str(answer["ticket"]), str(answer["url"])
    except BaseException:
        release_code(wanted, claim)
        raise
    lives = int(answer.get("expire_seconds") or wanted.expire_seconds)
    ends_at = int(time.time()) + lives if is_temporary else 0
    try:
        keep_code(wanted, claim, ticket, url, ends_at)
    except StoreError:
        logger.exception(
            "WeChat made a QR code that could not be kept: scene %s, ticket %s, url %s", scene, ticket, url
        )
        raise
    return QrCode(next(iter(scene.values())), ticket, url, wanted.expire_seconds, ends_at)
