"""The fans who logged in on a page."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from app.store import retried, transaction
from app.store.models import Fan

_LENGTHS = {"unionid": 64, "nickname": 255, "headimgurl": 512}


def keep_fan(appid: str, openid: str, profile: Mapping[str, Any]) -> Fan:
    """Keep that the fan logged in now, with what ``profile`` holds of unionid, nickname and headimgurl.

    What it does not hold stays as it was. Raises StoreError.
    """
    known = {name: _text(profile[name], length) for name, length in _LENGTHS.items() if profile.get(name)}
    return _keep(appid, openid, known)


def find_fan(appid: str, openid: str) -> Fan | None:
    """Return the fan, or None who never logged in or has left. Raises StoreError."""
    with transaction() as session:
        return session.scalar(select(Fan).where(Fan.appid == appid, Fan.openid == openid))


@retried  # the first login of a fan, twice at once
def _keep(appid: str, openid: str, known: Mapping[str, str]) -> Fan:
    now = int(time.time())
    with transaction() as session:
        fan = session.scalar(select(Fan).where(Fan.appid == appid, Fan.openid == openid))
        if fan is None:
            fan = Fan(appid=appid, openid=openid, first_login_at=now)
            session.add(fan)
        for name, value in known.items():
            setattr(fan, name, value)
        fan.last_login_at = now
    return fan


def _text(value: Any, length: int) -> str:
    return str(value).replace("\x00", "")[:length]  # PostgreSQL takes no NUL
