"""The revisions of the menu: every push is one, and exactly one is current while there is a menu."""

import time

from sqlalchemy import Select, Update, delete, func, select, update

from app.errors import StoreError, Taken
from app.store import retried, transaction
from app.store.models import MenuRevision

PUSH_SECONDS = 120
"""A push takes seconds; one that began so long ago has died."""


def current_revision(appid: str) -> MenuRevision | None:
    """Return the revision that WeChat has now, or None. Raises StoreError."""
    with transaction() as session:
        return session.scalar(_pushed(appid).where(MenuRevision.current.is_(True)))


def find_revision(appid: str, number: int) -> MenuRevision | None:
    """Return the revision with this number, or None. Raises StoreError."""
    with transaction() as session:
        return session.scalar(_pushed(appid).where(MenuRevision.number == number))


def revisions(appid: str, limit: int = 100) -> list[MenuRevision]:
    """Return the latest revisions, the newest first. Raises StoreError."""
    with transaction() as session:
        return list(session.scalars(_pushed(appid).order_by(MenuRevision.number.desc()).limit(limit)))


@retried
def begin_push(appid: str, content: str, author: str, note: str) -> MenuRevision | None:
    """Keep a revision that is being pushed; None where somebody else pushes just now. Raises StoreError."""
    now = int(time.time())
    try:
        with transaction() as session:
            died = MenuRevision.pushing.is_(True), MenuRevision.created_at < now - PUSH_SECONDS
            session.execute(delete(MenuRevision).where(MenuRevision.appid == appid, *died))
            last = session.scalar(select(func.max(MenuRevision.number)).where(MenuRevision.appid == appid)) or 0
            revision = MenuRevision(appid=appid, number=last + 1, created_at=now, content=content, pushing=True)
            revision.author, revision.note = author[:64], note[:255]
            session.add(revision)
    except Taken:
        return None
    return revision


def unfinished_push(appid: str) -> MenuRevision | None:
    """Return the revision that is being pushed, or whose push died or could not tell its end. Raises StoreError."""
    with transaction() as session:
        return session.scalar(select(MenuRevision).where(MenuRevision.appid == appid, MenuRevision.pushing.is_(True)))


@retried
def end_push(revision: MenuRevision, *, pushed: bool | None) -> None:
    """Make the revision the current one, or forget it where it was not pushed; None where that is not known.

    Raises StoreError.
    """
    with transaction() as session:
        if pushed is None:  # it stays, as one that has died: the next push takes its place
            session.execute(update(MenuRevision).where(MenuRevision.id == revision.id).values(created_at=0))
        elif pushed:
            session.execute(_no_current(revision.appid))
            values = {"current": True, "pushing": None, "created_at": int(time.time())}
            mine = update(MenuRevision).where(MenuRevision.id == revision.id).values(values)
            if not session.execute(mine).rowcount:  # type: ignore[attr-defined]
                raise StoreError("the push took so long that it was taken for dead; push once more")
        else:
            session.execute(delete(MenuRevision).where(MenuRevision.id == revision.id))


@retried
def clear_current(appid: str) -> None:
    """Note that WeChat has no menu any more. Raises StoreError."""
    with transaction() as session:
        session.execute(_no_current(appid))


def _no_current(appid: str) -> Update:
    is_current = MenuRevision.appid == appid, MenuRevision.current.is_(True)
    return update(MenuRevision).where(*is_current).values(current=None)


def _pushed(appid: str) -> Select[MenuRevision]:
    return select(MenuRevision).where(MenuRevision.appid == appid, MenuRevision.pushing.is_(None))
