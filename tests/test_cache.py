"""What each backend of the cache does, each with its real server."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from app.cache import Cache, connect
from app.errors import ConfigError
from tests.actors import Account
from tests.cache_servers import BACKENDS, connected
from tests.servers import APPID, environment, wait_for

ON_REDIS = [name for name in BACKENDS if name.startswith("redis")]
TEXT = '{"文":"你好，👩‍👩‍👧 🎉","line":"\\r\\nEND\\u0000"}'
KEYS = connect("memory://", APPID)


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(backend(tmp_path_factory.mktemp("cache"))) for name, backend in BACKENDS.items()
        }


@pytest.fixture(params=BACKENDS)
def cache(request: pytest.FixtureRequest, urls: dict[str, str]) -> Iterator[Cache]:
    with connected(urls[request.param]) as cache:
        yield cache


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key that no other test has."""
    return KEYS.key("test", request.node.name)


def test_add_stores_only_where_nothing_stands(cache: Cache, key: str) -> None:
    assert cache.add(key, "first", 60)
    assert not cache.add(key, "second", 60)
    assert cache.get(key) == "first"


def test_claim_returns_what_stands(cache: Cache, key: str) -> None:
    assert cache.claim(key, "first", 60) == "first"
    assert cache.claim(key, "second", 60) == "first"


def test_set_replaces_what_stands(cache: Cache, key: str) -> None:
    assert [cache.set(key, "first", 60), cache.set(key, "second", 60)] == [True, True]
    assert cache.get(key) == "second"


def test_what_was_deleted_can_be_added_again(cache: Cache, key: str) -> None:
    cache.set(key, "first", 60)
    assert cache.delete(key)
    assert cache.get(key) is None
    assert not cache.delete(key)
    assert cache.add(key, "second", 60)


def test_many_come_in_the_order_in_which_they_were_asked_for(cache: Cache, key: str) -> None:
    assert cache.get_many(key) == [None]
    for number in range(20):
        cache.set(f"{key}{number}", str(number), 60)
    assert cache.get_many(f"{key}7", f"{key}none", *(f"{key}{number}" for number in range(20))) == [
        *("7", None),
        *map(str, range(20)),
    ]


def test_chinese_emoji_and_control_characters_come_back_as_they_were(cache: Cache, key: str) -> None:
    long_text = TEXT * 1000
    assert cache.add(key, TEXT, 60)
    assert cache.set(f"{key}2", long_text, 60)
    assert cache.get_many(key, f"{key}2") == [cache.get(key), cache.get(f"{key}2")] == [TEXT, long_text]
    assert cache.claim(key, "other", 60) == TEXT


def test_one_of_sixteen_threads_wins(cache: Cache, key: str) -> None:
    together = threading.Barrier(16)

    def claim(number: int) -> list[str]:
        together.wait()
        return [cache.claim(f"{key}{turn}", str(number), 60) for turn in range(20)]

    def add(number: int) -> list[bool]:
        together.wait()
        return [cache.add(f"{key}add{turn}", str(number), 60) for turn in range(20)]

    with ThreadPoolExecutor(16) as pool:
        claimed = list(pool.map(claim, range(16)))
        added = list(pool.map(add, range(16)))
    assert [len(set(of_one_key)) for of_one_key in zip(*claimed, strict=True)] == [1] * 20
    assert [sum(of_one_key) for of_one_key in zip(*added, strict=True)] == [1] * 20


def test_what_is_stored_expires_everywhere(urls: dict[str, str]) -> None:
    with ExitStack() as stack:
        caches = [stack.enter_context(connected(url)) for url in urls.values()]
        for cache in caches:
            assert [cache.add("added", "1", 2), cache.set("set", "1", 2), cache.set("kept", "1", 60)] == [True] * 3
        assert [cache.get_many("added", "set") for cache in caches] == [["1", "1"]] * len(caches)
        wait_for(lambda: all(cache.get_many("added", "set") == [None, None] for cache in caches), 5)
        assert all(cache.add("added", "2", 60) and cache.get("kept") == "1" for cache in caches)


@pytest.mark.parametrize("cache", ON_REDIS, indirect=True)
def test_redis_knows_the_seconds_as_soon_as_it_has_the_key(cache: Cache, key: str) -> None:
    client = cache._backend._write_client
    cache.add(key, "1", 60)
    cache.set(f"{key}set", "1", 60)
    assert all(55_000 < client.pttl(name) <= 60_000 for name in (key, f"{key}set"))
    cache.add(key, "2", 600)
    assert client.pttl(key) <= 60_000


def test_adding_is_one_command_of_redis(urls: dict[str, str], key: str) -> None:
    with connected(urls["redis"]) as cache, Redis.from_url(urls["redis"]) as client:
        client.config_resetstat()
        cache.add(key, "1", 60)
        cache.add(key, "2", 60)
        calls = {name: row["calls"] for name, row in client.info("commandstats").items()}
    assert calls.pop("cmdstat_config|resetstat") == 1
    assert calls == {"cmdstat_set": 2}


def test_redis_holds_nothing_but_json_that_expires_under_keys_of_the_account(urls: dict[str, str]) -> None:
    url = f"{urls['redis']}/5"
    settings = {"WECHAT_APPID": APPID, "WECHAT_HANDLERS": "tests.cache_traffic", "WECHAT_DELIVERIES": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "from tests.cache_traffic import main; main()"],
        env=environment(WECHAT_CACHE_URL=url, **settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout.split() == ["remembered", "remembered", "success"], done.stderr
    with Redis.from_url(url) as client:
        stored = {key.decode(): (client.ttl(key), client.get(key)) for key in client.scan_iter()}
    assert {key.split(":")[0] for key in stored} == {APPID}
    assert {key.split(":")[1] for key in stored} == {"message", "signature", "session", "late", "process"}
    assert [key for key, (seconds, _) in stored.items() if not 0 < seconds <= 48 * 3600] == []
    values = [json.loads(value) for _, value in stored.values()]
    assert {"文": "会话"} in values


def test_values_in_memory_are_json_too() -> None:
    cache = connect("memory://", APPID)
    cache.set("k", TEXT, 60)
    assert cache._backend._cache["k"][1] == TEXT.encode()
    with pytest.raises(AttributeError):
        cache.set("k", object(), 60)  # type: ignore[arg-type]


def test_a_full_memory_cache_forgets_the_oldest_tenth() -> None:
    cache = connect("memory://", APPID)
    cache._backend._threshold = 100
    for number in range(105):
        cache.set(str(number), str(number), 60)
    assert cache.get_many("0", "104") == [None, "104"]
    assert len(cache._backend._cache) <= 101


@pytest.mark.parametrize(("url", "shared"), [("memory://", False), ("memcached://127.0.0.1:1", True)])
def test_a_cache_knows_whether_other_processes_can_be_in_it(url: str, shared: bool) -> None:
    assert connect(url, APPID).shared is shared


def test_every_key_has_the_account_and_the_kind_in_it() -> None:
    assert KEYS.key("message", "oFan", "123") == f"{APPID}:message:oFan:123"


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_a_key_is_short_ascii_without_blanks_whatever_the_sender_put_in(parts: list[str]) -> None:
    key = KEYS.key("message", *parts)
    assert len(key) < 90  # uwsgi_wechat.ini's keysize is 96, and some get an ending
    assert key.isascii()
    assert key.isprintable()
    assert " " not in key


def test_the_cache_of_uwsgi_is_only_under_uwsgi() -> None:
    with pytest.raises(ConfigError, match="works under uWSGI only; expected memory://"):
        connect("uwsgi://wechat", APPID)


LIES = [
    "not json",
    "",
    "[]",
    "7",
    "null",
    '"x"',
    '["reply"]',
    '["waiting",null]',
    '["odd","x"]',
    '[["k"]]',
    "[" * 5000,
    "1e999",
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie[:12])
def test_a_cache_that_lies_about_all_that_stands_in_it_costs_no_answer(
    lie: str, account: Callable[..., Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(message: Any) -> str:
        message.session["said"] = message.session.get("said", 0) + 1
        return f"answer {message.session['said']}"

    opened = account({"text": count, "event": count})
    shared = opened.app.extensions["wechat_api"].cache
    for room in (shared, shared.fans):
        monkeypatch.setattr(room, "get", lambda key: lie)
        monkeypatch.setattr(room, "get_many", lambda *keys: [lie] * len(keys))
    assert [opened.say("hi"), opened.say("1"), opened.event("CLICK", "K")] == ["answer 1"] * 3
    opened.event("unsubscribe")
    assert (opened.client.get("/readyz").status_code, opened.say("hi")) == (200, "answer 1")
