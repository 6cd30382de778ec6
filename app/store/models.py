"""The tables. Times are whole seconds since 1970; every row belongs to one account."""

from sqlalchemy import BigInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.store import Base
from app.store.text import LONG_CLEAN_TEXT, CleanText

# MySQL compares text without regard to case, where openids and scenes differ by it.
_MYSQL = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


class MenuRevision(Base):
    """One menu as it was pushed; ``content`` is its JSON.

    At most one of an account is ``current`` and one is ``pushing``: the others have None there, which no unique
    constraint counts.
    """

    __tablename__ = "menu_revision"
    __table_args__ = (
        UniqueConstraint("appid", "number"),
        UniqueConstraint("appid", "current"),
        UniqueConstraint("appid", "pushing"),
        _MYSQL | {"sqlite_autoincrement": True},  # a push that died must not meet its own id again
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    appid: Mapped[str] = mapped_column(CleanText(32))
    number: Mapped[int]
    created_at: Mapped[int] = mapped_column(BigInteger)
    author: Mapped[str] = mapped_column(CleanText(64))
    note: Mapped[str] = mapped_column(CleanText(255))
    content: Mapped[str] = mapped_column(LONG_CLEAN_TEXT)
    current: Mapped[bool | None]
    pushing: Mapped[bool | None]


class QrCode(Base):
    """A QR code that WeChat made, or is asked for just now: then ``claim`` names who asks, and ``ticket`` is None.

    ``kind`` is "int" or "str", for the scene's type; ``expire_seconds`` and ``ends_at`` are 0 for a permanent one.
    """

    __tablename__ = "qr_code"
    __table_args__ = (UniqueConstraint("appid", "kind", "scene", "expire_seconds"), _MYSQL)

    id: Mapped[int] = mapped_column(primary_key=True)
    appid: Mapped[str] = mapped_column(CleanText(32))
    kind: Mapped[str] = mapped_column(CleanText(3))
    scene: Mapped[str] = mapped_column(CleanText(64))
    expire_seconds: Mapped[int]
    created_at: Mapped[int] = mapped_column(BigInteger)
    ends_at: Mapped[int] = mapped_column(BigInteger)
    ticket: Mapped[str | None] = mapped_column(CleanText(255))
    url: Mapped[str | None] = mapped_column(CleanText(255))
    claim: Mapped[str | None] = mapped_column(CleanText(32))
    claimed_at: Mapped[int] = mapped_column(BigInteger)


class SceneCount(Base):
    """How often a scene was scanned by followers, and followed by others, on one day (YYYY-MM-DD of this machine)."""

    __tablename__ = "scene_count"
    __table_args__ = (UniqueConstraint("appid", "scene", "day"), _MYSQL)

    id: Mapped[int] = mapped_column(primary_key=True)
    appid: Mapped[str] = mapped_column(CleanText(32))
    scene: Mapped[str] = mapped_column(CleanText(64))
    day: Mapped[str] = mapped_column(CleanText(10))
    scans: Mapped[int]
    follows: Mapped[int]


class Fan(Base):
    """Somebody who logged in on a page; what WeChat did not say, because the scope was snsapi_base, is None."""

    __tablename__ = "fan"
    __table_args__ = (UniqueConstraint("appid", "openid"), _MYSQL)

    id: Mapped[int] = mapped_column(primary_key=True)
    appid: Mapped[str] = mapped_column(CleanText(32))
    openid: Mapped[str] = mapped_column(CleanText(64))
    unionid: Mapped[str | None] = mapped_column(CleanText(64))
    nickname: Mapped[str | None] = mapped_column(CleanText(255))
    headimgurl: Mapped[str | None] = mapped_column(CleanText(512))
    first_login_at: Mapped[int] = mapped_column(BigInteger)
    last_login_at: Mapped[int] = mapped_column(BigInteger)


class Figures(Base):
    """What one uWSGI had counted at the end of a minute (since 1970), as JSON; kept for a day."""

    __tablename__ = "figures"
    __table_args__ = (UniqueConstraint("appid", "source", "minute"), _MYSQL)

    id: Mapped[int] = mapped_column(primary_key=True)
    appid: Mapped[str] = mapped_column(CleanText(32))
    source: Mapped[str] = mapped_column(CleanText(64))
    minute: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[str] = mapped_column(LONG_CLEAN_TEXT)
