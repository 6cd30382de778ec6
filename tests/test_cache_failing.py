"""A cache that hangs, dies or is not there: what callers get, how long they wait for it, and what the log says."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer

import pytest

from app.backends import Opened
from app.cache import Cache
from tests.cache_servers import (
    Lines,
    Watched,
    connected,
    memcached_server,
    redis_server,
    sentinel_server,
)
from tests.servers import APPID, free_port, wait_for

START = {"redis": redis_server, "memcached": memcached_server}
KEY = f"{APPID}:test:k"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    return Lines(caplog)


def calls_on(cache: Cache) -> list[tuple[Callable[[], object], object]]:
    """Return each call with what it returns where nothing can be known."""
    return [
        (lambda: cache.get(KEY), None),
        (lambda: cache.get_many(KEY, f"{KEY}2"), None),
        (lambda: cache.add(KEY, "1", 60), False),
        (lambda: cache.set(KEY, "2", 60), False),
        (lambda: cache.claim(KEY, "mine", 60), "mine"),
        (lambda: cache.delete(KEY), False),
    ]


def waits(call: Callable[[], object], otherwise: object) -> bool:
    """Make a call on a cache that is down, and tell whether it waited for it."""
    started = time.monotonic()
    assert call() == otherwise
    seconds = time.monotonic() - started
    assert seconds < 1.2
    return seconds > 0.25


def calls_that_wait(cache: Cache, number: int) -> int:
    calls = calls_on(cache)
    return sum(waits(*calls[turn % len(calls)]) for turn in range(number))


def calls_of_16_threads_that_wait(cache: Cache, until: Callable[[], bool]) -> int:
    def keep_calling(_: int) -> int:
        waited = []

        def call() -> bool:
            waited.append(calls_that_wait(cache, 6))
            return until()

        wait_for(call, 10)
        return sum(waited)

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(keep_calling, range(16)))


@pytest.mark.parametrize("kind", START)
def test_every_call_waits_half_a_second_for_a_server_that_hangs(tmp_path: Path, kind: str) -> None:
    with ThreadPoolExecutor(6) as pool, START[kind](tmp_path) as server:

        def first_call(number: int) -> bool:
            with connected(f"{kind}://127.0.0.1:{server.port}") as cache:
                together.wait()
                return waits(*calls_on(cache)[number])

        together = threading.Barrier(6, server.stand_still)
        assert list(pool.map(first_call, range(6))) == [True] * 6


def test_a_redis_that_hangs_holds_one_call_a_second_and_is_used_again_when_it_goes_on(
    tmp_path: Path, lines: Lines
) -> None:
    with redis_server(tmp_path) as server, connected(f"redis://127.0.0.1:{server.port}") as cache:
        assert cache.set(f"{KEY}0", "stands", 60)
        server.stand_still()
        started = time.monotonic()
        assert 1 <= calls_that_wait(cache, 50) <= 2
        assert time.monotonic() - started < 3
        # More than two seconds of calls without a pause, in which it is tried twice.
        assert calls_of_16_threads_that_wait(cache, lambda: len(lines.errors()) >= 3) <= 3
        assert lines.one_a_second()
        assert not any("full" in line for line in lines.errors())
        server.go_on()
        wait_for(lambda: cache.get(f"{KEY}0") == "stands", 3)
        assert cache.add(f"{KEY}1", "1", 60)
        assert lines.back() == 1


@pytest.mark.parametrize("kind", START)
def test_a_server_is_used_as_soon_as_it_comes_and_comes_again(tmp_path: Path, lines: Lines, kind: str) -> None:
    port = free_port()
    with connected(f"{kind}://127.0.0.1:{port}") as cache:
        assert len(lines.errors()) == 1
        assert "refused" in lines.errors()[0]
        assert calls_that_wait(cache, 6) == 0
        with START[kind](tmp_path, port=port) as server:
            wait_for(lambda: cache.set(f"{KEY}0", "stands", 60), 3)
            server.kill()
            seen = len(lines.errors())
            assert calls_of_16_threads_that_wait(cache, lambda: len(lines.errors()) >= seen + 2) == 0
            assert not any("full" in line for line in lines.errors())
            server.start()
            wait_for(lambda: cache.add(f"{KEY}1", "1", 60), 3)
            assert cache.get(f"{KEY}0") is None
        assert lines.one_a_second()
        assert lines.back() == 2


@pytest.mark.parametrize("kind", START)
def test_a_server_that_hangs_up_on_everybody_is_left_alone_for_a_second(lines: Lines, kind: str) -> None:
    connections = []

    class HangUp(BaseRequestHandler):
        def handle(self) -> None:
            connections.append(self.client_address)

    with TCPServer(("127.0.0.1", 0), HangUp) as server, ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        pool.submit(server.serve_forever, 0.05)
        stack.callback(server.shutdown)
        with connected(f"{kind}://127.0.0.1:{server.server_address[1]}") as cache:
            assert calls_that_wait(cache, 50) == 0
    assert 1 <= len(connections) < 10
    assert len(lines.errors()) == 1


@pytest.mark.parametrize("kind", START)
def test_a_restart_between_two_calls_is_not_noticed(tmp_path: Path, lines: Lines, kind: str) -> None:
    with START[kind](tmp_path) as server, connected(f"{kind}://127.0.0.1:{server.port}") as cache:
        together = threading.Barrier(16)

        def open_a_connection(_: int) -> None:
            together.wait()
            for _ in range(20):
                cache.get(KEY)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(open_a_connection, range(16)))
        server.kill()
        server.start()
        assert all(cache.add(f"{KEY}{number}", "1", 60) for number in range(40))
        assert lines.errors() == []


def test_a_call_that_was_under_way_when_another_failed_does_not_bring_the_cache_back(lines: Lines) -> None:
    class Backend:
        answer = threading.Event()

        def get(self, key: str) -> str | None:
            if key == "fails":
                raise ConnectionError(key)
            self.answer.wait(10)
            return "1"

        get_many = add = set = delete = get

    cache = Cache(Opened(Backend(), (OSError,)), APPID)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(cache.get, "slow")
        wait_for(under_way.running)
        assert cache.get("fails") is None
        Backend.answer.set()
        assert under_way.result() == "1"
    assert cache.get("any") is None
    assert lines.back() == 0


def test_sentinel_moves_the_service_to_the_replica_without_a_restart(tmp_path: Path, lines: Lines) -> None:
    with Watched(tmp_path) as watched, connected(watched.url) as cache:
        assert cache.set(KEY, "1", 60)
        watched.sentinels[0].kill()
        watched.sentinels[0].start()
        watched.master.kill()
        wait_for(lambda: cache.set(KEY, "2", 60), 15)
        assert cache.get(KEY) == "2"
        watched.master.start()  # as a replica: whoever asked it would be refused
        assert cache.set(KEY, "3", 60)
        assert lines.one_a_second()
        assert lines.back() == 1


def test_sentinels_that_are_down_hold_nobody(tmp_path: Path, lines: Lines) -> None:
    with redis_server(tmp_path) as master, sentinel_server(tmp_path, master.port) as sentinel:
        sentinels = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}"
        started = time.monotonic()
        with connected(f"redis+sentinel://{sentinels}/mymaster/2") as cache:
            assert cache.set(KEY, "1", 60)
            assert time.monotonic() - started < 1.2
            assert lines.errors() == []
            sentinel.kill()
            master.kill()
            assert calls_that_wait(cache, 50) == 0


def test_sentinels_that_want_a_password_get_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    of_sentinel = ("--requirepass", "ofTheSentinel")
    with (
        redis_server(tmp_path) as master,
        sentinel_server(tmp_path, master.port, *of_sentinel) as sentinel,
    ):
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster"
        with connected(f"{url}?sentinel_password=ofTheSentinel") as cache:
            assert cache.set(KEY, "1", 60)
        with connected(url) as cache:
            assert not cache.set(KEY, "1", 60)
    assert "ofTheSentinel" not in caplog.text
