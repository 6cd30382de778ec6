"""Messages whose process dies after their last delivery are taken over by another one."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from app.backends import open_memory
from app.cache import Cache
from app.callback.wards import Wards
from app.callback.watch import Watch
from tests.servers import wait_for

FIELDS = {"FromUserName": "oFan", "MsgId": "1", "Content": "question"}


class QuietWatch(Watch):
    """A watch whose beat is the test's to make."""

    def __init__(self, cache: Cache, name: str) -> None:
        super().__init__(cache)
        self._name = name

    def me(self) -> str:
        return self._name


class Process:
    def __init__(self, cache: Cache, name: str) -> None:
        self.cache = cache
        self.unawaited: Mapping[str, Any] = {}
        self.adopted: list[tuple[str, dict[str, Any]]] = []
        self.watch = QuietWatch(cache, name)
        self.wards = Wards(cache, self.watch, lambda: self.unawaited, lambda *given: self.adopted.append(given))

    def beat(self, value: int) -> None:
        self.cache.set(self.watch.beat_key(self.watch.me()), str(value), 60)


@pytest.fixture
def cache() -> Cache:
    return Cache(open_memory(), "wx0")


def ends(process: Process) -> list[tuple[str, dict[str, Any]]]:
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "ward"])
    return process.adopted


def test_what_a_dead_process_left_is_taken_over_once(cache: Cache) -> None:
    owner, other = Process(cache, "owner"), Process(cache, "other")
    owner.unawaited = {"k1": FIELDS}
    for number in range(3):
        owner.beat(number)
        owner.wards.look()
        other.wards.look()
    for _ in range(2):
        other.wards.look()
        assert ends(other) == []
    for _ in range(5):
        other.wards.look()
    assert ends(other) == [("k1", FIELDS)]


def test_nothing_is_taken_from_a_process_that_lives_or_has_ended_its_work(cache: Cache) -> None:
    owner, other = Process(cache, "owner"), Process(cache, "other")
    owner.unawaited = {"k1": FIELDS}
    for number in range(10):
        owner.beat(number)
        owner.wards.look()
        other.wards.look()
    assert ends(other) == []
    owner.unawaited = {}
    owner.wards.look()
    for _ in range(10):
        other.wards.look()
    assert ends(other) == []
    assert cache.get("k1:ward") is None


def test_a_cache_that_is_down_kills_nobody(cache: Cache) -> None:
    owner, other = Process(cache, "owner"), Process(cache, "other")
    owner.unawaited = {"k1": FIELDS}
    owner.beat(1)
    owner.wards.look()
    found = cache.get_many
    for number in range(10):
        cache.get_many = (lambda *_: None) if number % 2 else found
        other.wards.look()
    assert ends(other) == []


def test_who_was_left_out_of_the_names_comes_back(cache: Cache) -> None:
    processes = [Process(cache, name) for name in ("a", "b", "c")]
    cache.set(cache.key("process", "all"), '["somebody else"]', 60)
    for _ in range(2):
        for number, process in enumerate(processes):
            process.beat(number)
            process.wards.look()
    assert cache.get(cache.key("process", "all")) == '["a","b","c","somebody else"]'


def test_it_looks_by_itself_only_where_other_processes_can_be(cache: Cache) -> None:
    cache.shared = False
    Process(cache, "alone").wards.start()
    assert "wards" not in [thread.name for thread in threading.enumerate()]
