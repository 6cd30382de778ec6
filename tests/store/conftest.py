"""What the tests of the database share: each of the three databases, and an application on it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import inspect

from app.callback.parse import parse
from app.store import Base, db, open_store, transaction
from app.store.migrate import add_migrations
from app.store.recorder import Recorder
from tests.database_servers import DatabaseServer, mariadb_server, postgresql_server
from tests.servers import APPID

SERVERS = {"mysql": "mariadb", "postgresql": "postgresql"}
Result = TypeVar("Result")


@contextmanager
def opened(url: str) -> Iterator[Flask]:
    """Open the database at ``url`` in an application of its own, and close every connection at the end."""
    app = Flask("store")
    open_store(app, url)
    add_migrations(app)
    try:
        yield app
    finally:
        for thread in threading.enumerate():
            if thread.name == "recorder":
                thread.join(5)
        with app.app_context():
            db.engine.dispose()


@contextmanager
def with_tables(url: str) -> Iterator[Flask]:
    """Open the database with all tables, in the application's context, and empty them at the end."""
    with opened(url) as app, app.app_context():
        if not inspect(db.engine).has_table("alembic_version"):
            flask_migrate.upgrade()
        yield app
        with transaction() as session:
            for table in Base.metadata.tables.values():
                session.execute(table.delete())


def together(app: Flask, calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Make all calls at once, each in a thread, and return what they return."""
    ready = threading.Barrier(len(calls))

    def make(call: Callable[[], Result]) -> Result:
        with app.app_context():
            ready.wait(10)
            return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(make, calls))


def note(recorder: Recorder, event: str, openid: str = "oA", **fields: str) -> None:
    """Have the recorder note an event of the fan, with WeChat's fields."""
    every = {"ToUserName": "gh_7f083739789a", "FromUserName": openid, "CreateTime": "1714000222", "MsgType": "event"}
    recorder.note(parse({**every, "Event": event, **fields}))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    with mariadb_server() as running:
        yield running


@pytest.fixture(scope="session")
def postgresql() -> Iterator[DatabaseServer]:
    with postgresql_server() as running:
        yield running


@pytest.fixture(params=["sqlite", *SERVERS])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a database without tables: each of the three in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/wechat.db"
    else:
        with request.getfixturevalue(SERVERS[request.param]).database() as url:
            yield url


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """Return each database server in turn, to do harm to."""
    running: DatabaseServer = request.getfixturevalue(SERVERS[request.param])
    yield running
    running.be_up()


@pytest.fixture(params=["sqlite", *SERVERS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """Return an application on a database with all tables, empty, in its context: each of the three in turn."""
    is_file = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/wechat.db" if is_file else request.getfixturevalue(SERVERS[request.param]).url
    with with_tables(url) as app:
        yield app


@pytest.fixture
def store_on_server(server: DatabaseServer) -> Iterator[Flask]:
    """Return an application on ``server``, as ``store`` does."""
    with with_tables(server.url) as app:
        yield app
        server.be_up()


@pytest.fixture
def recorder(store: Flask) -> Recorder:
    return Recorder(store, APPID)
