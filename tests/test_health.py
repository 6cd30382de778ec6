"""/healthz and /readyz: with the real cache and database down, slow, or full."""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.actors import Account
from tests.cache_servers import redis_server
from tests.figures import figures
from tests.servers import free_port, wait_for

Open = Callable[..., Account]
FILLS = "cache, room of messages: 0% full\ncache, room of fans: 0% full\n"
READY = f"cache: ok\ndatabase: ok\nhandlers: ok\n{FILLS}"
UNLIMITED = READY.removesuffix(FILLS)  # a Redis without maxmemory


def ready(client: FlaskClient) -> tuple[int, str]:
    response = client.get("/readyz")
    return response.status_code, response.text


def test_all_is_well(account: Open) -> None:
    client = account({"*": print}).client
    assert (client.get("/healthz").status_code, client.get("/healthz").text) == (200, "ok\n")
    assert ready(client) == (200, READY)
    assert client.get("/readyz").headers["Cache-Control"] == "no-store"


def test_prometheus_is_told_the_same(account: Open) -> None:
    url = f"mysql://wechat:secret@127.0.0.1:{free_port()}/wechat"
    client = account({"*": print}, WECHAT_DATABASE_URL=url).client
    told = figures(client.get("/metrics").text)
    assert {what: told["wechat_ready", what] for what in ("cache", "database", "handlers")} == {
        "cache": 1,
        "database": 0,
        "handlers": 1,
    }


def test_without_a_row_it_is_not_ready(account: Open) -> None:
    status, text = ready(account({}).client)
    assert (status, "handlers: not ready" in text) == (503, True)


def test_a_cache_that_is_down_slow_or_back_is_seen(account: Open, tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        client = account({"*": print}, WECHAT_CACHE_URL=f"redis://127.0.0.1:{redis.port}").client
        assert ready(client) == (200, UNLIMITED)
        redis.stand_still()
        status, text = ready(client)
        assert (status, text.splitlines()[0]) == (503, "cache: not ready; the log says why")
        assert client.get("/healthz").status_code == 200
        redis.go_on()
        wait_for(lambda: ready(client) == (200, UNLIMITED))
        redis.kill()
        assert ready(client)[0] == 503


def test_a_cache_that_is_full_is_seen(account: Open, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as redis:
        client = account({"*": print}, WECHAT_CACHE_URL=f"redis://127.0.0.1:{redis.port}").client
        assert ready(client)[0] == 503


def test_how_full_the_cache_is_is_said_before_it_is_full(account: Open, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "20mb", "--maxmemory-policy", "noeviction") as redis:
        client = account({"*": print}, WECHAT_CACHE_URL=f"redis://127.0.0.1:{redis.port}").client
        ready(client)
        before = figures(client.get("/metrics").text)
        with Redis(port=redis.port) as connection:
            for number in range(1000):
                connection.set(f"much{number}", b"x" * 10_000)
        status, text = ready(client)
        after = figures(client.get("/metrics").text)
    for room in ("messages", "fans"):
        assert 0.4 < after["wechat_cache_fill", room] - before["wechat_cache_fill", room] < 0.6
        assert f"cache, room of {room}: {after['wechat_cache_fill', room]:.0%} full\n" in text
    assert status == 200


def test_in_memory_one_room_that_is_full_leaves_the_other_alone(account: Open) -> None:
    opened = account({"*": print})
    cache = opened.app.extensions["wechat_api"].cache
    for number in range(1000):
        cache.fans.set(f"session{number}", "{}", 60)
    assert "room of messages: 0% full\ncache, room of fans: 2% full" in ready(opened.client)[1]


def test_a_redis_whose_user_may_not_ask_says_nothing_and_complains_of_nothing(
    account: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, "--rename-command", "INFO", "", "--maxmemory", "100mb") as redis:
        client = account({"*": print}, WECHAT_CACHE_URL=f"redis://127.0.0.1:{redis.port}").client
        assert ready(client) == (200, UNLIMITED)
    assert "the cache fails" not in caplog.text


def test_a_database_that_is_locked_out_is_seen_and_named_in_the_log(
    account: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"mysql://wechat:hunter2hunter2@127.0.0.1:{free_port()}/wechat"
    status, text = ready(account({"*": print}, WECHAT_DATABASE_URL=url).client)
    assert (status, text) == (503, READY.replace("database: ok", "database: not ready; the log says why"))
    assert "not ready: the database fails" in caplog.text
    assert "hunter2" not in caplog.text + text


def test_what_says_nothing_holds_up_one_thread_however_many_ask(account: Open, tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        opened = account({"*": print}, WECHAT_CACHE_URL=f"redis://127.0.0.1:{redis.port}")
        redis.stand_still()
        most = [0]

        def ask(_: int) -> int:
            status = ready(opened.app.test_client())[0]
            most[0] = max(most[0], sum(thread.name == "probe" for thread in threading.enumerate()))
            return status

        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(ask, range(20))) == {503}
        assert most[0] <= 2  # the cache's and the database's
        redis.go_on()


def test_health_touches_nothing(account: Open, tmp_path: Path) -> None:
    opened = account({"*": print}, WECHAT_DATABASE_URL=f"sqlite:///{tmp_path}/none.db")
    assert opened.client.get("/healthz").status_code == 200
    assert not (tmp_path / "none.db").exists()
    assert opened.client.get("/readyz").status_code == 200
    assert sqlite3.connect(tmp_path / "none.db").execute("PRAGMA quick_check").fetchone() == ("ok",)
