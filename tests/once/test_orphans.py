"""Messages whose process died after WeChat's last retry are taken over by another one."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from app.cache import Cache, connect
from app.once.liveness import Heartbeat
from app.once.orphans import Orphans
from tests.once.parts import shared_cache

FIELDS = {"FromUserName": "oFan", "MsgId": "1", "Content": "question"}
LONG_ENOUGH = 10
"""Looks after which who does not beat is surely dead."""


class Process:
    """A process whose heartbeat is the test's to make."""

    def __init__(self, cache: Cache, secrets: tuple[str, ...] = ("secret",)) -> None:
        self.cache = cache
        self.unawaited: Mapping[str, Any] = {}
        self.adopted: list[tuple[str, dict[str, Any]]] = []
        self.heartbeat = Heartbeat(cache)
        self.orphans = Orphans(cache, self.heartbeat, secrets, lambda: self.unawaited, self.adopt)

    def adopt(self, key: str, fields: dict[str, Any]) -> None:
        self.adopted.append((key, fields))
        self.unawaited = {**self.unawaited, key: fields}

    def lives(self) -> None:
        """Beat and look."""
        self.heartbeat.beat()
        self.orphans.look()


def live(*processes: Process, looks: int = LONG_ENOUGH) -> None:
    for _ in range(looks):
        for process in processes:
            process.lives()


@pytest.fixture
def cache() -> Cache:
    return shared_cache()


def test_what_a_dead_process_left_is_taken_over_once_and_not_too_soon(cache: Cache) -> None:
    owner, other, third = (Process(cache) for _ in range(3))
    owner.unawaited = {"k1": FIELDS}
    live(owner, other, third)
    live(other, third, looks=5)
    assert other.adopted == third.adopted == []
    live(other, third)
    assert other.adopted + third.adopted == [("k1", FIELDS)]


def test_what_was_brought_to_its_end_is_not_left_in_the_cache(cache: Cache) -> None:
    owner, other = Process(cache), Process(cache)
    owner.unawaited = {"k1": FIELDS}
    live(owner, other)
    live(other)
    other.unawaited = {}
    live(other, looks=1)
    names = json.loads(cache.get(cache.key("process", "all")) or "")
    assert (cache.get("k1:orphan"), names) == (None, [other.heartbeat.name])
    assert cache.get(cache.key("process", owner.heartbeat.name, "orphans")) is None


def test_nothing_is_taken_from_a_process_that_lives_or_has_ended_its_work(cache: Cache) -> None:
    owner, other = Process(cache), Process(cache)
    owner.unawaited = {"k1": FIELDS}
    live(owner, other, looks=2 * LONG_ENOUGH)
    assert other.adopted == []
    owner.unawaited = {}
    owner.lives()
    live(other)
    assert (other.adopted, cache.get("k1:orphan")) == ([], None)


def test_what_an_ended_process_left_is_taken_over_at_the_next_look(cache: Cache) -> None:
    owner, other = Process(cache), Process(cache)
    live(owner, other, looks=2)
    assert other.orphans.has_others()
    owner.unawaited = {"k1": FIELDS}
    owner.orphans.publish()
    owner.heartbeat.end()
    live(other, looks=2)
    assert other.adopted == [("k1", FIELDS)]
    assert not other.orphans.has_others()


def test_who_takes_over_and_dies_of_it_leaves_it_to_the_next(cache: Cache) -> None:
    owner, second, third = (Process(cache) for _ in range(3))
    owner.unawaited = {"k1": FIELDS}
    owner.lives()
    for _ in range(LONG_ENOUGH):
        if not second.adopted:  # it dies of what it has just taken over
            second.lives()
    assert second.adopted == [("k1", FIELDS)]
    live(third, looks=2 * LONG_ENOUGH)
    assert third.adopted == [("k1", FIELDS)]


def test_who_dies_while_it_takes_over_leaves_it_to_the_next(cache: Cache) -> None:
    class Killed(BaseException):
        pass

    def dies(key: str, fields: dict[str, Any]) -> None:
        raise Killed

    owner, second, third = (Process(cache) for _ in range(3))
    owner.unawaited = {"k1": FIELDS}
    owner.lives()
    second.adopt = dies  # type: ignore[method-assign]
    second.orphans = Orphans(cache, second.heartbeat, ("secret",), dict, dies)
    with pytest.raises(Killed):
        live(second)
    live(third)
    assert third.adopted == [("k1", FIELDS)]


def test_a_new_token_knows_what_was_signed_with_the_previous_one_and_the_other_way_round(cache: Cache) -> None:
    both = ("new secret", "secret")
    before, after, another = Process(cache), Process(cache, both), Process(cache, both)
    for dies, lives, key in ((before, after, "k1"), (after, another, "k2")):
        dies.unawaited = {key: FIELDS}
        live(dies, lives, looks=2)
        live(lives)
        assert lives.adopted == [(key, FIELDS)]


def test_a_message_that_nobody_signed_is_not_taken_over(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    owner, other = Process(cache), Process(cache)
    owner.unawaited = {"k1": FIELDS, "k2": FIELDS}
    owner.lives()
    cache.set("k2:orphan", cache.get("k1:orphan") or "", 60)  # signed for another message
    cache.set("k1:orphan", json.dumps(FIELDS), 60)
    live(other)
    assert other.adopted == []
    assert "no token of this account has signed" in caplog.text


def test_what_the_cache_did_not_take_or_has_lost_is_said_again(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Process(cache)
    owner.unawaited = {"k1": FIELDS}
    with monkeypatch.context() as full:
        full.setattr(cache, "set", lambda *_: False)
        owner.orphans.look()
    owner.orphans.look()
    assert cache.get("k1:orphan")
    cache.delete("k1:orphan")  # a failover has lost it
    live(owner, looks=20)
    assert cache.get("k1:orphan")


def test_a_cache_that_is_down_kills_nobody(cache: Cache) -> None:
    owner, other = Process(cache), Process(cache)
    owner.unawaited = {"k1": FIELDS}
    live(owner, other)
    get_many = cache.get_many
    for _ in range(4):  # the owner could not beat meanwhile
        live(other, looks=3)
        cache.get_many = lambda *_: None
        other.orphans.look()
        cache.get_many = get_many
    assert other.adopted == []


def test_two_that_write_their_names_at_once_are_both_there_in_the_end(cache: Cache) -> None:
    one, other = Process(cache), Process(cache)
    live(one, other, looks=2)
    cache.set(cache.key("process", "all"), json.dumps([one.heartbeat.name]), 60)  # the other one was overwritten
    live(one, other, looks=2)
    assert set(json.loads(cache.get(cache.key("process", "all")) or "")) == {one.heartbeat.name, other.heartbeat.name}
    assert (one.orphans.has_others(), other.orphans.has_others()) == (True, True)


def test_a_process_alone_in_its_cache_has_no_others() -> None:
    alone = Process(connect("memory://", "wx0"))
    live(alone)
    assert not alone.orphans.has_others()
