"""The database: what must outlive a restart. SQLite, MySQL or PostgreSQL, by its URL."""

import functools
import os
import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.orm.exc import StaleDataError

from app import place
from app.errors import BadText, ConfigError, Conflict, StoreError, Taken

_DRIVERS = {
    "sqlite+pysqlite": "sqlite",
    "mysql": "mysql+pymysql",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}
# Without it, MySQL cuts off what it cannot hold, and says nothing.
_STRICT = "SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_TRANS_TABLES')"
# A server that says nothing is not waited for longer than WeChat waits.
_TIMEOUTS: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": 5},
    "mysql+pymysql": {"connect_timeout": 3, "read_timeout": 10, "write_timeout": 10, "init_command": _STRICT},
    "postgresql+psycopg": {"connect_timeout": 3, "tcp_user_timeout": 10000},
}
_POOL = {"pool_pre_ping": True, "pool_recycle": 1800, "pool_timeout": 5}
# secure_delete: what is deleted of a fan is overwritten, and not only forgotten.
_SQLITE_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON")
_EXPECTED = "sqlite:///FILE, mysql://USER:PASSWORD@HOST/DATABASE or postgresql://USER:PASSWORD@HOST/DATABASE"


# What MySQL and PostgreSQL say to one of two that lock each other out.
_CONFLICTS = ("Deadlock found", "deadlock detected", "could not serialize")
_MISSING = re.compile(r"no such (table|column)|doesn't exist|does not exist|Unknown column")
# "Incorrect string value", "Invalid character string", "Illegal mix of collations", "Conversion … impossible";
# untranslatable_character and character_not_in_repertoire.
_MYSQL_BAD_TEXT, _POSTGRESQL_BAD_TEXT = (1366, 1300, 1267, 1271, 3988), ("22P05", "22021")
_BAD_TEXT = "the database's character set cannot hold a text"
_TO_UTF8 = "MySQL: ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; PostgreSQL: ENCODING 'UTF8'"
_TRIES = 5
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Base(DeclarativeBase):
    """What every table is."""

    # Constraints have the same names everywhere, so that migrations can find them.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)


def open_store(app: Flask, url: str) -> None:
    """Put the database at ``url`` behind ``app``; nothing is connected yet. Raises ConfigError for a wrong URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # not from it: it quotes the URL with its password
        raise ConfigError(f"WECHAT_DATABASE_URL cannot be read; expected {_EXPECTED}") from None
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    if "@" in (parsed.host or ""):
        raise ConfigError(f"WECHAT_DATABASE_URL has an @ too many, in a password it is %40; expected {_EXPECTED}")
    is_file = parsed.drivername.startswith("sqlite") and parsed.database not in (None, "", ":memory:")
    if is_file:  # from the working directory, as .env is, not from Flask's instance folder
        parsed = parsed.set(database=str(Path(parsed.database or "").absolute()))
    connect_args = dict(_TIMEOUTS.get(parsed.drivername, {}))
    if parsed.drivername == "mysql+pymysql" and parsed.password:
        connect_args["password"] = parsed.password.encode()  # PyMySQL would take it for Latin-1, and fail
    options: dict[str, Any] = {**_POOL, "connect_args": connect_args, "hide_parameters": True}
    if parsed.drivername.startswith("mysql"):
        # Its own default locks the gaps around a row that is not there: two who insert two rows would deadlock.
        options["isolation_level"] = "READ COMMITTED"
    app.config.update(SQLALCHEMY_DATABASE_URI=parsed, SQLALCHEMY_ENGINE_OPTIONS=options)
    try:
        db.init_app(app)
        app.teardown_appcontext_funcs[app.teardown_appcontext_funcs.index(db._teardown_session)] = _end_session
        with app.app_context():
            engine = db.engine
    except (ImportError, NoSuchModuleError):
        raise ConfigError(
            f"WECHAT_DATABASE_URL: no driver for {parsed.drivername}:// is installed; expected {_EXPECTED}"
        ) from None
    if is_file:
        event.listen(engine, "do_connect", _make_file)
        event.listen(engine, "connect", _set_pragmas)


@contextmanager
def transaction() -> Iterator[Session]:
    """Give a session of its own, apart from a handler's ``db.session``; it is committed at the end, or rolled back.

    Raises Taken, Conflict, or StoreError when the database cannot be asked, or says no.
    """
    try:
        with Session(db.engine, expire_on_commit=False) as session, session.begin():
            yield session
    except StoreError:
        raise
    except IntegrityError as error:
        raise Taken(reason_of(error)) from error
    except SQLAlchemyError as error:
        if _is_of_text(error):
            raise BadText(f"{_BAD_TEXT}; {_TO_UTF8}") from error
        reason = reason_of(error)
        is_conflict = isinstance(error, StaleDataError) or any(code in reason for code in _CONFLICTS)
        raise (Conflict if is_conflict else StoreError)(reason) from error
    except UnicodeError as error:
        raise BadText(f"{_BAD_TEXT}; {_TO_UTF8}") from error
    except Exception as error:  # drivers have more errors than SQLAlchemy knows; their texts hold what was asked
        raise StoreError(f"the database fails: {type(error).__name__}") from error


def retried(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let ``function`` be called again, a few times, where it raises Conflict: nothing of it has been done then."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        for _ in range(_TRIES - 1):
            try:
                return function(*args, **kwargs)
            except Conflict:
                time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 (only to part those who met)
        return function(*args, **kwargs)

    return call


def reason_of(error: SQLAlchemyError) -> str:
    """Return what went wrong and what to do, without the parameters, which are fans' data."""
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    missing = f"; is it up to date? {place.command('db upgrade')}" if _MISSING.search(said) else ""
    where = f" {db.engine.url.database}" if "unable to open" in said else ""
    return f"the database fails: {type(error).__name__}: {said}{where}{missing}"


def _is_of_text(error: SQLAlchemyError) -> bool:
    said = getattr(error, "orig", None)
    number = said.args[0] if said and said.args else None
    return number in _MYSQL_BAD_TEXT or getattr(said, "sqlstate", None) in _POSTGRESQL_BAD_TEXT


def _end_session(_: BaseException | None) -> None:
    """End a handler's session, where it had one: Flask-SQLAlchemy's own takes its time on every message."""
    if db.session.registry.registry:
        db.session.remove()


def _make_file(_dialect: Any, _record: Any, arguments: Any, _options: Any) -> None:
    """Make the file and its folder where they are missing, for their owner alone."""
    path = Path(arguments[0])
    with suppress(OSError):  # SQLite says then what is wrong
        path.parent.mkdir(mode=0o700, exist_ok=True)  # one folder: a typo is not a place for a new database
        os.close(os.open(path, os.O_CREAT, 0o600))


def _set_pragmas(connection: sqlite3.Connection, _: Any) -> None:
    for pragma in _SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()
