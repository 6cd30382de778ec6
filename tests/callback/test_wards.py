"""Messages whose process dies after their last delivery are taken over by another one."""

import json
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
    def __init__(self, cache: Cache, name: str, secrets: tuple[str, ...] = ("secret",)) -> None:
        self.cache = cache
        self.unawaited: Mapping[str, Any] = {}
        self.adopted: list[tuple[str, dict[str, Any]]] = []
        self.watch = QuietWatch(cache, name)
        self.wards = Wards(cache, self.watch, secrets, lambda: self.unawaited, self._adopt)
        self.beats = 0

    def _adopt(self, *given: Any) -> None:
        self.adopted.append(given)

    def lives(self) -> None:
        """Beat and look."""
        self.beats += 1
        self.cache.set(self.watch.beat_key(self.watch.me()), str(self.beats), 60)
        self.wards.look()


@pytest.fixture
def cache() -> Cache:
    return Cache(open_memory(), "wx0")


def threads(name: str) -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == name}


def taken_over_by(process: Process) -> list[tuple[str, dict[str, Any]]]:
    wait_for(lambda: not threads("ward"))
    return process.adopted


def test_what_a_dead_process_left_is_taken_over_once_and_not_left_in_the_cache(cache: Cache) -> None:
    owner, other = Process(cache, "owner"), Process(cache, "other")
    owner.unawaited = {"k1": FIELDS}
    for _ in range(10):
        owner.lives()
        other.lives()
    for _ in range(5):
        other.lives()
        assert taken_over_by(other) == []
    for _ in range(10):
        other.lives()
    assert taken_over_by(other) == [("k1", FIELDS)]
    other.lives()
    assert [cache.get(key) for key in ("k1:ward", cache.key("process", "owner", "wards"))] == [None, None]


def test_nothing_is_taken_from_a_process_that_lives_or_has_ended_its_work(cache: Cache) -> None:
    owner, other = Process(cache, "owner"), Process(cache, "other")
    owner.unawaited = {"k1": FIELDS}
    for _ in range(20):
        owner.lives()
        other.lives()
    assert taken_over_by(other) == []
    owner.unawaited = {}
    owner.lives()
    for _ in range(20):
        other.lives()
    assert taken_over_by(other) == []
    assert cache.get("k1:ward") is None


def test_who_takes_over_says_so_first_and_may_die_of_it(cache: Cache) -> None:
    owner, second, third = (Process(cache, name) for name in ("owner", "second", "third"))
    second.wards._adopt = lambda *_: killed.wait(10)
    owner.unawaited, killed = {"k1": FIELDS}, threading.Event()
    owner.lives()
    for _ in range(10):
        second.lives()
    for _ in range(20):  # the second one is dead now, too
        third.lives()
    killed.set()
    assert taken_over_by(third) == [("k1", FIELDS)]


def test_a_new_token_knows_what_was_signed_with_the_previous_one_and_the_other_way_round(cache: Cache) -> None:
    before, after = Process(cache, "before"), Process(cache, "after", ("new secret", "secret"))
    for dies, lives in ((before, after), (after, Process(cache, "another", ("new secret", "secret")))):
        dies.unawaited = {f"of {dies.watch.me()}": FIELDS}
        dies.lives()
        for _ in range(10):
            lives.lives()
        assert taken_over_by(lives) == [(f"of {dies.watch.me()}", FIELDS)]


def test_a_message_that_nobody_signed_is_not_taken_over(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    owner, other = Process(cache, "owner"), Process(cache, "other")
    owner.unawaited = {"k1": FIELDS, "k2": FIELDS}
    owner.lives()
    cache.set("k1:ward", json.dumps(FIELDS), 60)
    cache.set("k2:ward", cache.get("k1:ward") or "", 60)
    for _ in range(10):
        other.lives()
    assert taken_over_by(other) == []
    assert "no token of this account has signed" in caplog.text


def test_what_the_cache_did_not_take_is_said_again(cache: Cache) -> None:
    owner, take = Process(cache, "owner"), cache._set
    owner.unawaited = {"k1": FIELDS}
    cache._set = lambda *_: False
    owner.wards.look()
    cache._set = take
    owner.wards.look()
    assert cache.get("k1:ward")
    cache.delete("k1:ward")  # a failover has lost it
    for _ in range(20):
        owner.wards.look()
    assert cache.get("k1:ward")


def test_a_cache_that_is_down_kills_nobody(cache: Cache) -> None:
    owner, other = Process(cache, "owner"), Process(cache, "other")
    owner.unawaited = {"k1": FIELDS}
    owner.lives()
    found = cache.get_many
    for number in range(30):
        cache.get_many = (lambda *_: None) if number % 5 == 0 else found
        other.lives()
    assert taken_over_by(other) == []


def test_who_was_left_out_of_the_names_comes_back(cache: Cache) -> None:
    processes = [Process(cache, name) for name in ("a", "b", "c")]
    cache.set(cache.key("process", "all"), '["somebody else"]', 60)
    for _ in range(2):
        for process in processes:
            process.lives()
    assert cache.get(cache.key("process", "all")) == '["a","b","c","somebody else"]'


def test_the_only_process_takes_over_at_once_what_the_one_before_it_left(cache: Cache) -> None:
    cache.shared = False
    before, now = Process(cache, "before"), Process(cache, "now")
    before.unawaited = {"k1": FIELDS}
    before.lives()
    for _ in range(2):
        now.wards.look()
    assert taken_over_by(now) == [("k1", FIELDS)]


def test_it_goes_on_whatever_stands_in_the_cache(
    cache: Cache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.callback.wards._LOOK_SECONDS", 0.01)
    cache.set(cache.key("process", "all"), "no JSON", 60)
    process, before = Process(cache, "one"), threads("wards")
    process.wards.start()
    process.wards.start()
    assert len(threads("wards") - before) == 1
    wait_for(lambda: "cannot be looked after" in caplog.text)
    cache.delete(cache.key("process", "all"))
    wait_for(lambda: cache.get(cache.key("process", "all")) == '["one"]')
    monkeypatch.setattr("app.callback.wards._LOOK_SECONDS", 3600)


def test_it_looks_by_itself_only_where_other_processes_can_be(cache: Cache) -> None:
    cache.shared = False
    alone = Process(cache, "alone")
    alone.wards.start()
    assert alone.wards._started_after == -1
    assert cache.get(cache.key("process", "all")) is None
