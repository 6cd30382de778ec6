"""What all tests share: settings, an account under test, and that CI skips nothing."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_migrate import upgrade
from xdist.scheduler import LoadFileScheduling

from app import config
from app.store import db, open_store
from app.store.migrate import add_migrations
from tests.actors import Account
from tests.servers import AES_KEY, APPID, ROOT, TOKEN
from tests.wechat_server import WeChatServer, wechat_server

# What `make quick` leaves out: servers that are started, loaded, killed and measured.
LONG = (
    "accounts",
    "bench",
    "browser",
    "deploy",
    "e2e",
    "faults",
    "load",
    "machines",
    "platforms",
    "security",
    "soak",
    "store",
)
LONG_FILES = (
    "test_held_connections.py",
    "test_processes.py",
    "test_cache_failing.py",
    "test_cache_refusing.py",
    "test_uwsgi.py",
)
# What takes a whole core or a machine of its own: `make test` runs one of these at a time, beside the rest.
ALONE = ("bench", "deploy", "load", "machines", "soak")
ALONE_FILES = ("test_neighbours.py", "test_slow.py")
SEALED = {"WECHAT_APPID": APPID, "WECHAT_ENCODING_AES_KEY": AES_KEY}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A SQLite file that is up to date, to be copied: migrating one for each test would take its time."""
    path, app = tmp_path_factory.mktemp("database") / "wechat.db", Flask("empty")
    open_store(app, f"sqlite:///{path}")
    add_migrations(app)
    with app.app_context():
        upgrade()
        with db.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        db.engine.dispose()
    return path.read_bytes()


@pytest.fixture
def settings(tmp_path: Path, empty_database: bytes) -> Callable[..., config.Settings]:
    """Return a function that loads settings from its arguments alone: ``settings(WECHAT_PATH="/x")``."""
    (tmp_path / "wechat.db").write_bytes(empty_database)

    def load(**environ: str) -> config.Settings:
        own = {"WECHAT_CACHE_URL": "memory://", "WECHAT_DATABASE_URL": f"sqlite:///{tmp_path}/wechat.db"}
        given = {"WECHAT_TOKEN": TOKEN, **own} | environ
        return config.load(given, tmp_path / "no.env")

    return load


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WeChatServer]:
    """Return WeChat, played locally on a port: its API, and what it knows of the account."""
    with wechat_server(tmp_path) as running:
        yield running


@pytest.fixture
def account(settings: Callable[..., config.Settings], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Account]:
    """Return a function that opens an account: ``account({"text": handler}, WECHAT_ENCRYPT_MODE="safe")``."""

    def open_account(handlers: Any = None, middleware: Any = (), **environ: str) -> Account:
        sealed = SEALED if environ.get("WECHAT_ENCRYPT_MODE", "normal") != "normal" else {}
        return Account(settings(**{**sealed, **environ}), handlers, middleware, monkeypatch)

    return open_account


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WECHAT_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers]
    root.setLevel(level)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(ROOT / "tests").parts[0] in LONG or item.path.name in LONG_FILES:
            item.add_marker("long")


class _ByFile(LoadFileScheduling):  # type: ignore[misc]
    """Gives each file to one process, and all that needs the machine for itself to one and the same."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        return "alone" if path.parts[1] in ALONE or path.name in ALONE_FILES else str(path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return _ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
