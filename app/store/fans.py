"""The fans who logged in on a page."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, func, or_, select, true

from app.store import retried, transaction
from app.store.models import Fan
from app.store.text import cleaned, readable, storable

PAGE_FANS = 50
"""How many fans are on a page of those who were found."""
_LENGTHS = {"unionid": 64, "nickname": 255, "headimgurl": 512}


class Found(NamedTuple):
    """Page ``page`` of ``pages`` of the ``total`` fans that were looked for."""

    fans: list[Fan]
    total: int
    page: int
    pages: int


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


@readable
def find_fans(appid: str, text: str = "", page: int = 1) -> Found:
    """Return those who have ``text`` in their nickname, or whose openid or unionid begins with it; latest login first.

    A page before the first or behind the last is the first or the last. Raises StoreError.
    """
    its = (Fan.appid == appid, _matches(storable(text)))
    latest = select(Fan).where(*its).order_by(Fan.last_login_at.desc(), Fan.id.desc())
    with transaction() as session:
        total = session.scalar(select(func.count()).select_from(Fan).where(*its)) or 0
        pages = max(-(-total // PAGE_FANS), 1)
        page = min(max(page, 1), pages)
        fans = list(session.scalars(latest.limit(PAGE_FANS).offset((page - 1) * PAGE_FANS)))
    return Found(fans, total, page, pages)


@retried  # a login at the same time
def delete_fan(appid: str, openid: str) -> bool:
    """Delete the fan, and return whether there was one. Raises StoreError."""
    with transaction() as session:
        mine = delete(Fan).where(Fan.appid == appid, Fan.openid == openid)
        return bool(session.execute(mine).rowcount)  # type: ignore[attr-defined]


@readable  # what a nickname shows of an emoji is no reason for nobody to log in
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


def _matches(text: str) -> ColumnElement[bool]:
    """Return the condition of a search; no LIKE for the ids: SQLite's knows no case, and openids differ by it."""
    begins = (func.substr(column, 1, len(text)) == text for column in (Fan.openid, Fan.unionid))
    return or_(Fan.nickname.icontains(text, autoescape=True), *begins) if text else true()


def _text(value: Any, length: int) -> str:
    return str(cleaned(str(value)))[:length]
