"""The cache of uWSGI, under uWSGI: what is in it expires, and a full one costs nothing but what it cannot take."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT, Server, environment, free_port, uwsgi, wait_for

TEXT = '{"文":"你好 🎉"}'


class RemoteCache:
    """The cache of a worker: ``cache("add", "k", "v", 60)``."""

    def __init__(self, server: Server, port: int) -> None:
        self._server = server
        self._port = port

    def __call__(self, name: str, *arguments: Any) -> Any:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=10)) as connection:
            connection.request("POST", "/", json.dumps([name, *arguments]))
            return json.loads(connection.getresponse().read())

    def complaints(self) -> list[datetime]:
        lines = [json.loads(line) for line in self._server.output().splitlines() if line.startswith('{"time"')]
        assert all("it takes nothing: full?" in line["message"] for line in lines)
        return [datetime.fromisoformat(line["time"]) for line in lines]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[RemoteCache]:
    shipped = (ROOT / "uwsgi_wechat.ini").read_text()
    processes = re.findall(r"^processes = \d+$", shipped, re.MULTILINE)[0]
    sizes = re.findall(r"^cache2 = .*(items=\d+,blocks=\d+)", shipped, re.MULTILINE)
    assert len(sizes) == 2
    changes = {
        "module = runserver:application": "module = tests.e2e.cache_calls:application",
        processes: "processes = 1",  # which complains once a second
        **dict.fromkeys(sizes, "items=100,blocks=200"),
    }
    port = free_port()
    with uwsgi(tmp_path, environment(), port=port, replacements=changes) as server:
        yield RemoteCache(server, port)


def test_what_uwsgi_keeps_expires_and_a_full_cache_takes_more_when_it_has(cache: RemoteCache) -> None:
    assert cache("add", "short", TEXT, 1)
    assert not cache("add", "short", "other", 60)
    assert cache("claim", "short", "other", 60) == cache("get", "short") == TEXT
    assert cache("set", "long", TEXT * 1000, 60)
    assert cache("get_many", "none", "long") == [None, TEXT * 1000]
    assert cache("delete", "long")
    wait_for(lambda: cache("get", "short") is None, 10)
    assert cache("add", "short", "again", 60)
    assert cache("get", "short") == "again"
    assert cache.complaints() == []

    count = 0
    while cache("add", f"filler{count}", "1", 3):
        count += 1
    assert 90 < count < 100

    def keep_claiming() -> bool:
        assert cache("claim", "new", "mine", 60) == "mine"
        assert cache("claim", "short", "mine", 60) == "again"
        return len(cache.complaints()) >= 2

    wait_for(keep_claiming, 5)
    assert all((later - earlier).total_seconds() > 0.95 for earlier, later in pairwise(cache.complaints()))
    wait_for(lambda: cache("add", "after", "1", 60), 10)
    assert cache("claim", "after", "other", 60) == "1"


def test_what_fans_multiply_has_a_room_of_its_own_and_each_says_how_full_it_is(cache: RemoteCache) -> None:
    few = cache("fills")
    assert {room: fill < 0.1 for room, fill in few.items()} == {"messages": True, "fans": True}
    count = 0
    while cache("fans.add", f"session{count}", "{}", 60):
        count += 1
    assert 90 < count < 100
    full = cache("fills")
    assert (full["fans"] > 0.99, full["messages"]) == (True, few["messages"])
    assert [cache("claim", f"claim{number}", "mine", 60) for number in range(50)] == ["mine"] * 50
    assert cache.complaints() == []
    assert cache("set", "an answer of 100 blocks", "x" * 25600, 60)
    assert cache("fills")["messages"] > 0.7  # by its blocks: there are 52 of 99 items


def test_the_shipped_rooms_hold_fifty_messages_a_second_and_no_more_memory_than_before() -> None:
    shipped = (ROOT / "uwsgi_wechat.ini").read_text()
    sizes = re.findall(r"^cache2 = name=([\w-]+),items=(\d+),blocks=(\d+),blocksize=256,", shipped, re.MULTILINE)
    assert [name for name, _, _ in sizes] == ["wechat", "wechat-fans"]
    assert int(sizes[0][1]) >= 50 * 3 * (603 + 3)  # what has ended is swept every 3 s
    assert sum(int(items) for _, items, _ in sizes) <= 100_000
    assert sum(int(blocks) for _, _, blocks in sizes) <= 200_000
