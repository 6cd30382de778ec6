"""The QR codes that WeChat made: each is asked for once, by whoever claims it first."""

import secrets
import time
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select, update

from app.errors import Taken
from app.store import retried, transaction
from app.store.models import QrCode, SceneCount

# Asking takes seconds at most; who claimed longer ago has died.
_CLAIM_SECONDS = 60


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


def codes(appid: str, limit: int = 1000) -> list[tuple[QrCode, int, int]]:
    """Return the account's latest codes, each with its scene's scans and follows. Raises StoreError."""
    same = and_(SceneCount.appid == QrCode.appid, SceneCount.scene == QrCode.scene)
    sums = func.coalesce(func.sum(SceneCount.scans), 0), func.coalesce(func.sum(SceneCount.follows), 0)
    query = select(QrCode, *sums).outerjoin(SceneCount, same).group_by(QrCode.id)
    with transaction() as session:
        wanted = query.where(QrCode.appid == appid, QrCode.ticket.is_not(None)).order_by(QrCode.id.desc()).limit(limit)
        return [(code, int(scans), int(follows)) for code, scans, follows in session.execute(wanted)]


def _is(wanted: Wanted) -> tuple[ColumnElement[bool], ...]:
    return tuple(getattr(QrCode, name) == value for name, value in wanted._asdict().items())
