"""The QR codes that WeChat made: each is asked for once, by whoever claims it first."""

import secrets
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, func, or_, select, update

from app.errors import Taken
from app.store import retried, transaction
from app.store.models import QrCode, SceneCount

# Asking takes seconds at most; who claimed longer ago has died.
_CLAIM_SECONDS = 60

Days = dict[str, tuple[int, int]]
"""A scene's scans and follows of each day (YYYY-MM-DD)."""


class Wanted(NamedTuple):
    """A code that somebody wants; ``expire_seconds`` is 0 for a permanent one."""

    appid: str
    kind: str
    scene: str
    expire_seconds: int


def find_code(wanted: Wanted, margin_seconds: int = 0) -> QrCode | None:
    """Return the code, when it is there and ends later than in ``margin_seconds``. Raises StoreError."""
    with transaction() as session:
        code = session.scalar(select(QrCode).where(*_is(wanted), QrCode.ticket.is_not(None)))
    return code if code and (not code.expire_seconds or code.ends_at > time.time() + margin_seconds) else None


def find_living(appid: str, kind: str, scene: str) -> QrCode | None:
    """Return the scene's permanent code, or else the temporary one that lives longest, or None. Raises StoreError."""
    living = or_(QrCode.expire_seconds == 0, QrCode.ends_at > int(time.time()))
    its = (QrCode.appid == appid, QrCode.kind == kind, QrCode.scene == scene, QrCode.ticket.is_not(None), living)
    with transaction() as session:
        return session.scalar(select(QrCode).where(*its).order_by(QrCode.expire_seconds != 0, QrCode.ends_at.desc()))


@retried
def claim_code(wanted: Wanted) -> str | None:
    """Return a claim for the one who may ask WeChat for the code, and None for all others. Raises StoreError."""
    claim, now = secrets.token_hex(8), int(time.time())
    is_free = or_(QrCode.claim.is_(None), QrCode.claimed_at < now - _CLAIM_SECONDS)
    try:
        with transaction() as session:
            taken = update(QrCode).where(*_is(wanted), is_free).values(claim=claim, claimed_at=now)
            if session.execute(taken).rowcount:  # type: ignore[attr-defined]
                return claim
            session.add(QrCode(**wanted._asdict(), claim=claim, claimed_at=now, created_at=now, ends_at=0))
    except Taken:
        return None
    return claim


@retried
def keep_code(wanted: Wanted, claim: str, ticket: str, url: str, ends_at: int) -> None:
    """Keep what WeChat made for the one who holds ``claim``; ``ends_at`` is 0 for never. Raises StoreError."""
    made = {"ticket": ticket, "url": url, "claim": None, "created_at": int(time.time()), "ends_at": ends_at}
    with transaction() as session:
        session.execute(update(QrCode).where(*_is(wanted), QrCode.claim == claim).values(made))


@retried
def release_code(wanted: Wanted, claim: str) -> None:
    """Give up ``claim``: WeChat did not make the code. Raises StoreError."""
    with transaction() as session:
        session.execute(update(QrCode).where(*_is(wanted), QrCode.claim == claim).values(claim=None))


def codes(appid: str, limit: int = 1000, part: str = "", skip: int = 0) -> list[tuple[QrCode, int, int]]:
    """Return the account's latest codes, each with its scene's scans and follows. Raises StoreError.

    ``part`` is what their scenes contain; ``skip`` so many of the latest are left out.
    """
    same = (SceneCount.appid == QrCode.appid, SceneCount.scene == QrCode.scene)
    sums = [
        select(func.coalesce(func.sum(column), 0)).where(*same).correlate(QrCode).scalar_subquery()
        for column in (SceneCount.scans, SceneCount.follows)
    ]
    # Chosen before anything is summed: the counts of all codes may be many.
    wanted = _latest(appid, part).with_only_columns(QrCode.id).limit(limit).offset(skip).subquery()
    query = select(QrCode, *sums).join(wanted, wanted.c.id == QrCode.id).order_by(QrCode.id.desc())
    with transaction() as session:
        return [(code, int(scans), int(follows)) for code, scans, follows in session.execute(query)]


def latest_codes(appid: str, limit: int, part: str = "") -> list[QrCode]:
    """Return the account's latest codes, or those whose scenes contain ``part``. Raises StoreError."""
    with transaction() as session:
        return list(session.scalars(_latest(appid, part).limit(limit)))


def codes_by_id(appid: str, ids: Sequence[int]) -> list[QrCode]:
    """Return those of the account's codes that have one of these ids, the latest first. Raises StoreError."""
    with transaction() as session:
        return list(session.scalars(_latest(appid).where(QrCode.id.in_(ids))))


def number_of_codes(appid: str, part: str = "") -> int:
    """Return how many codes the account has, or those whose scenes contain ``part``. Raises StoreError."""
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(_latest(appid, part).order_by(None).subquery())) or 0


def counts_by_day(appid: str, scenes: Collection[str], since: str = "") -> dict[str, Days]:
    """Return each scene's scans and follows by day, from the day ``since`` (YYYY-MM-DD) on. Raises StoreError."""
    query = select(SceneCount.scene, SceneCount.day, SceneCount.scans, SceneCount.follows)
    its = (SceneCount.appid == appid, SceneCount.scene.in_(scenes), SceneCount.day >= since)
    found: dict[str, Days] = {scene: {} for scene in scenes}
    with transaction() as session:
        for scene, day, scans, follows in session.execute(query.where(*its)):
            found.setdefault(scene, {})[day] = (scans, follows)  # MySQL may find "a " for "a"
    return found


def _latest(appid: str, part: str = "") -> Select[QrCode]:
    made = select(QrCode).where(QrCode.appid == appid, QrCode.ticket.is_not(None)).order_by(QrCode.id.desc())
    return made.where(QrCode.scene.contains(part, autoescape=True)) if part else made


def _is(wanted: Wanted) -> tuple[ColumnElement[bool], ...]:
    return tuple(getattr(QrCode, name) == value for name, value in wanted._asdict().items())
