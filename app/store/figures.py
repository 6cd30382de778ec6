"""What each uWSGI of the account had counted at the end of each minute of the last day."""

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import aliased

from app.errors import Taken
from app.store import transaction
from app.store.models import Figures

_KEPT_MINUTES = 25 * 60


def has_figures(appid: str, source: str, minute: int) -> bool:
    """Tell whether ``source`` has kept what it had counted at ``minute``. Raises StoreError."""
    with transaction() as session:
        its = (Figures.appid == appid, Figures.source == source, Figures.minute == minute)
        return session.scalar(select(Figures.id).where(*its)) is not None


def keep_figures(appid: str, source: str, minute: int, content: str) -> None:
    """Keep what ``source`` had counted at ``minute``, and forget what is a day old. Raises StoreError."""
    try:
        with transaction() as session:
            session.add(Figures(appid=appid, source=source, minute=minute, content=content))
            session.execute(delete(Figures).where(Figures.appid == appid, Figures.minute < minute - _KEPT_MINUTES))
    except Taken:  # by another process of the same uWSGI
        pass


def figures_since(appid: str, minute: int, step: int) -> list[tuple[str, int, str]]:
    """Return (source, minute, content) of each ``step``-th minute from ``minute`` on, in order. Raises StoreError.

    The first of each source is always one of them: what it had counted by then is no news.
    """
    its = aliased(Figures)
    wanted = (its.appid == appid, its.source == Figures.source, its.minute >= minute)
    first = select(func.min(its.minute)).where(*wanted).scalar_subquery()
    query = select(Figures.source, Figures.minute, Figures.content).order_by(Figures.minute)
    query = query.where(Figures.appid == appid, Figures.minute >= minute)
    with transaction() as session:
        found = session.execute(query.where(or_(Figures.minute % step == 0, Figures.minute == first)))
        return [(source, at, content) for source, at, content in found]
