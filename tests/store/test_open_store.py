"""A database that is not there, refuses or restarts; and that no password is said."""

import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import make_url, text

from app.errors import ConfigError, StoreError, Taken
from app.store import db, open_store, transaction
from app.store.fans import find_fan, keep_fan
from tests.actors import Account
from tests.cache_servers import PASSWORD
from tests.database_servers import DatabaseServer
from tests.servers import APPID, free_port
from tests.store.conftest import opened, together

SECRET = "s3cr3t-P@ss"
INSERT = "INSERT INTO scene_count (appid, scene, day, scans, follows) VALUES ('wx', 'a', '2026-02-17', 1, 1)"


def said(error: BaseException) -> str:
    """Return all that a log could hold of the error."""
    return "".join([str(error), repr(error), *traceback.format_exception(error)])


def failure(url: str) -> StoreError:
    """Return what a login gets from the database at ``url``."""
    with opened(url) as app, app.app_context(), pytest.raises(StoreError) as caught:
        keep_fan(APPID, "oA", {})
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "",
        SECRET,
        f"mysql://wechat:{SECRET}@127.0.0.1/wechat",
        f"mysql:wechat:{SECRET}@127.0.0.1/wechat",
        f"mysql://wechat:{SECRET}@127.0.0.1:port/wechat",
        f"postgresql://wechat:{SECRET}@[::1/wechat",
        f"nosuch://wechat:{quote(SECRET)}@127.0.0.1/wechat",
        f"mysql+nosuch://wechat:{quote(SECRET)}@127.0.0.1/wechat",
        f"mysql+mysqldb://wechat:{quote(SECRET)}@127.0.0.1/wechat",
        f"postgresql+psycopg2://wechat:{quote(SECRET)}@127.0.0.1/wechat",
        f"oracle://wechat:{quote(SECRET)}@127.0.0.1/wechat",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_the_start_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(Flask("store"), url)
    assert str(caught.value).startswith("WECHAT_DATABASE_URL")
    assert "expected sqlite:///FILE, mysql://USER:PASSWORD@HOST/DATABASE or postgresql://" in str(caught.value)
    assert SECRET not in said(caught.value)


@pytest.mark.parametrize("short", ["mysql", "mysql+pymysql", "postgres", "postgresql", "postgresql+psycopg"])
def test_nothing_is_asked_before_it_is_needed(short: str) -> None:
    with opened(f"{short}://wechat:{quote(SECRET)}@127.0.0.1:{free_port()}/wechat") as app, app.app_context():
        for _ in range(2):
            with pytest.raises(StoreError, match="refused") as caught:
                find_fan(APPID, "oA")
            assert SECRET not in said(caught.value)


def test_a_server_that_refuses_the_password_is_named_without_it(server: DatabaseServer) -> None:
    error = failure(make_url(server.url).set(password=SECRET).render_as_string(hide_password=False))
    assert "wechat" in str(error)
    assert "denied" in str(error) or "password authentication failed" in str(error)
    assert SECRET not in said(error)


def test_a_database_without_tables_says_what_to_do(database_url: str) -> None:
    error = failure(database_url)
    assert str(error).endswith("is it up to date? flask db upgrade")
    assert "\n" not in str(error)
    assert PASSWORD not in said(error)
    assert quote(PASSWORD, safe="") not in said(error)


def test_a_database_of_an_earlier_version_says_what_to_do(database_url: str) -> None:
    with opened(database_url) as app, app.app_context():
        flask_migrate.upgrade()
        with transaction() as session:
            session.execute(text("ALTER TABLE fan DROP COLUMN nickname"))
    assert str(failure(database_url)).endswith("is it up to date? flask db upgrade")


def test_a_folder_that_cannot_be_made_fails_when_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "unable to open database file" in str(failure(f"sqlite:///{tmp_path}/file/wechat.db"))


@pytest.mark.parametrize(("statement", "error"), [("SELECT 1 FROM nowhere", StoreError), (INSERT, Taken)])
def test_what_fails_half_way_leaves_nothing(store: Flask, statement: str, error: type[Exception]) -> None:
    def fail_half_way() -> None:
        with transaction() as session:
            session.execute(text(INSERT))
            session.execute(text(statement))

    with pytest.raises(error):
        fail_half_way()
    with transaction() as session:
        assert session.execute(text("SELECT * FROM scene_count")).all() == []


def test_a_restart_of_the_server_between_two_calls_is_not_noticed(
    server: DatabaseServer, store_on_server: Flask
) -> None:
    keep_fan(APPID, "oA", {})
    all_ask = threading.Barrier(5)

    def ask() -> None:
        with transaction() as session:
            session.execute(text("SELECT 1"))
            all_ask.wait(10)

    together(store_on_server, [ask] * 5)
    server.kill()
    with pytest.raises(StoreError):
        find_fan(APPID, "oA")
    together_again = [lambda: find_fan(APPID, "oA")] * 20
    server.start()
    assert all(together(store_on_server, together_again))


def test_more_threads_than_connections_wait_for_one_another(store: Flask) -> None:
    keep_fan(APPID, "oA", {})
    assert all(together(store, [lambda: all(find_fan(APPID, "oA") for _ in range(3))] * 20))


def test_a_session_that_a_handler_used_ends_with_its_message(account: Callable[..., Account]) -> None:
    def ask(message: Any) -> str:
        return str(db.session.scalar(text("SELECT 7")))

    opened = account({"text": ask})
    assert [opened.say("hi") for _ in range(3)] == ["7"] * 3
    assert not db.session.registry.registry
    with opened.app.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
