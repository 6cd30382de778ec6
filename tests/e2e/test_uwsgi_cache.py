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
    items, blocks = re.findall(r"^cache2 = .*(items=\d+),(blocks=\d+)", shipped, re.MULTILINE)[0]
    changes = {
        "module = runserver:application": "module = tests.e2e.cache_calls:application",
        processes: "processes = 1",  # which complains once a second
        items: "items=100",
        blocks: "blocks=200",
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
