"""A cache that answers, but refuses: full, read-only, a wrong password; and URLs that no cache can have."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis

from app.cache import Cache, connect
from app.errors import ConfigError
from tests.cache_servers import PASSWORD, Lines, connected, memcached_server, redis_server
from tests.servers import APPID, free_port, wait_for

KEY = f"{APPID}:test:k"
Small = Callable[[Path], AbstractContextManager[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    return Lines(caplog)


@contextmanager
def small_redis(folder: Path) -> Iterator[str]:
    with redis_server(folder, "--maxmemory", "2mb", "--maxmemory-policy", "noeviction") as server:
        yield f"redis://127.0.0.1:{server.port}"


@contextmanager
def small_memcached(folder: Path) -> Iterator[str]:
    with memcached_server(folder, "-m", "2", "-M") as server:
        yield f"memcached://127.0.0.1:{server.port}"


def fill(cache: Cache) -> list[str]:
    """Add 10 kB at a time until the cache takes no more, and return the keys that it took."""
    keys: list[str] = []
    while cache.add(f"{KEY}{len(keys)}", "x" * 10_000, 60):
        keys.append(f"{KEY}{len(keys)}")
        assert len(keys) < 1000
    assert keys
    return keys


@pytest.mark.parametrize(("small", "size"), [(small_redis, 200_000), (small_memcached, 10_000)])
def test_a_full_cache_says_so_and_still_knows_what_it_has(
    tmp_path: Path, lines: Lines, small: Small, size: int
) -> None:
    with small(tmp_path) as url, connected(url) as cache:
        keys, value = fill(cache), "y" * size  # larger than what Redis gives back of its own buffers

        def keep_claiming() -> bool:
            assert cache.claim(f"{KEY}new", value, 60) == value
            assert not cache.add(f"{KEY}new", value, 60)
            assert not cache.set(f"{KEY}new", value, 60)
            assert cache.claim(keys[0], value, 60) == "x" * 10_000  # or its message would be handled again
            return len(lines.errors()) >= 2

        wait_for(keep_claiming, 5)
        assert lines.one_a_second()
        assert all("memory" in line or "full" in line for line in lines.errors())
        assert all(cache.delete(key) for key in keys)
        wait_for(lambda: cache.add(f"{KEY}new", "y", 60), 5)
        assert cache.claim(f"{KEY}new", "other", 60) == "y"
        assert lines.back() == 0


@pytest.mark.parametrize("kind", [small_redis, small_memcached])
def test_a_value_that_is_too_large_costs_no_other_call_anything(tmp_path: Path, lines: Lines, kind: Small) -> None:
    with kind(tmp_path) as url, connected(url) as cache:
        cache.set(KEY, "stands", 60)
        assert not cache.set(f"{KEY}2", "文" * 2_000_000, 60)
        assert cache.get(KEY) == "stands"
        assert len(lines.errors()) == 1


def test_a_redis_whose_disk_is_full_does_not_stop_the_start(tmp_path: Path, lines: Lines) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    with redis_server(folder, "--save", "3600 1") as server, Redis(port=server.port) as client:
        client.set(KEY, "stands")
        folder.joinpath("redis-server.log").rename(tmp_path / "log")
        folder.rmdir()
        client.bgsave()
        wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        with connected(f"redis://127.0.0.1:{server.port}") as cache:
            assert lines.errors() == []
            assert cache.claim(KEY, "mine", 60) == "stands"
            assert cache.claim(f"{KEY}2", "mine", 60) == "mine"
            assert "MISCONF" in lines.errors()[0]


def test_a_replica_is_read_but_takes_nothing(tmp_path: Path, lines: Lines) -> None:
    with ExitStack() as stack:
        master = stack.enter_context(redis_server(tmp_path))
        replica = stack.enter_context(redis_server(tmp_path, "--replicaof", f"127.0.0.1 {master.port}"))
        writing = stack.enter_context(connected(f"redis://127.0.0.1:{master.port}"))
        cache = stack.enter_context(connected(f"redis://127.0.0.1:{replica.port}"))
        assert writing.set(KEY, "stands", 60)
        wait_for(lambda: cache.get(KEY) == "stands")
        assert cache.claim(KEY, "mine", 60) == "stands"
        assert not cache.add(f"{KEY}2", "1", 60)
        assert len(lines.errors()) == 1


def refused(url: str) -> str:
    """Return all that a start with ``url`` shows, which says nothing secret."""
    with pytest.raises(ConfigError) as raised:
        connect(url, APPID)
    shown = "".join(traceback.format_exception(raised.value))
    assert not [part for part in ("hunter", "p@ss", "w/o", quote(PASSWORD, safe="")) if part in shown]
    assert "WECHAT_CACHE_URL" in str(raised.value)
    return str(raised.value)


def test_a_wrong_password_stops_the_start_and_is_not_shown(tmp_path: Path, lines: Lines) -> None:
    with redis_server(tmp_path, "--requirepass", PASSWORD) as server:
        at = f"127.0.0.1:{server.port}"
        assert "Redis refuses it: invalid username-password pair" in refused(f"redis://:hunter2@{at}")
        assert "Redis refuses it: invalid username-password pair" in refused(f"redis://hunter:{quote('p@ss')}@{at}")
        assert "authenticate" in refused(f"redis://{at}")
    assert lines.errors() == []


def test_a_database_that_redis_does_not_have_stops_the_start(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        assert "DB index is out of range" in refused(f"redis://127.0.0.1:{server.port}/99")


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:99999",
        "redis://:hunter2@127.0.0.1:99999",
        "rediss://:hunter2@127.0.0.1:66666/0",
        "redis://:hunter#2@127.0.0.1:6379",
        "redis://:hunter?2@127.0.0.1:6379",
        "redis+sentinel://127.0.0.1:26379,127.0.0.1:99999/mymaster",
        "redis+sentinel://:hunter#2@127.0.0.1:26379/mymaster",
        "memcached://127.0.0.1:99999",
        "redis://127.0.0.1:6379?socket_timeout=hunter",
        "redis://127.0.0.1:6379?no_such_option=hunter",
    ],
)
def test_a_url_that_cannot_be_meant_stops_the_start_and_its_password_is_not_shown(url: str) -> None:
    assert "expected a port up to 65535" in refused(url)


def test_no_password_is_in_the_log(tmp_path: Path, lines: Lines) -> None:
    secret = quote(PASSWORD, safe="")
    with (
        redis_server(tmp_path, "--requirepass", PASSWORD) as server,
        connected(f"redis://:{secret}@127.0.0.1:{server.port}") as cache,
    ):
        server.kill()
        assert cache.get(KEY) is None
    with connected(f"redis://fan:{secret}@127.0.0.1:{free_port()}"):
        pass
    with connected(f"rediss://:{secret}@127.0.0.1:{free_port()}?ssl_ca_certs=/no/ca.pem"):
        pass
    with connected(f"redis+sentinel://fan:{secret}@127.0.0.1:{free_port()}/mymaster"):
        pass
    assert len(lines.errors()) == 4
    assert not [line for line in lines.errors() if PASSWORD in line or secret in line or "p@ss" in line]


def test_what_others_wrote_into_it_stands_for_nothing(tmp_path: Path, lines: Lines) -> None:
    with small_redis(tmp_path) as url, connected(url) as cache:
        with Redis.from_url(url) as client:
            client.set(KEY, b"\xff\xfe")
        assert cache.get(KEY) is None
        assert cache.claim(KEY, '"mine"', 60) == '"mine"'
        assert "UnicodeDecodeError" in lines.errors()[0]
