"""What each uWSGI of the account had counted at the end of each minute of the last day."""

from sqlalchemy import delete, select

from app.errors import Taken
from app.store import retried, transaction
from app.store.models import Figures

_KEPT_MINUTES = 25 * 60


def has_figures(appid: str, source: str, minute: int) -> bool:
    """Tell whether ``source`` has kept what it had counted at ``minute``. Raises StoreError."""
    with transaction() as session:
        its = (Figures.appid == appid, Figures.source == source, Figures.minute == minute)
        return session.scalar(select(Figures.id).where(*its)) is not None


@retried
def keep_figures(appid: str, source: str, minute: int, content: str) -> None:
    """Keep what ``source`` had counted at ``minute``, and forget what is a day old. Raises StoreError."""
    try:
        with transaction() as session:
            session.add(Figures(appid=appid, source=source, minute=minute, content=content))
            session.execute(delete(Figures).where(Figures.appid == appid, Figures.minute < minute - _KEPT_MINUTES))
    except Taken:  # by another process of the same uWSGI
        pass


def figures_since(appid: str, minute: int) -> list[tuple[str, int, str]]:
    """Return (source, minute, content) of each minute from ``minute`` on, in order. Raises StoreError."""
    wanted = (Figures.appid == appid, Figures.minute >= minute)
    query = select(Figures.source, Figures.minute, Figures.content).where(*wanted).order_by(Figures.minute)
    with transaction() as session:
        return [(source, at, content) for source, at, content in session.execute(query)]
