"""A fan's queue of answers to pick up."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from app.cache import Cache
from app.once import pickup
from app.once.facts import LATE, Decision, Facts
from app.once.pickup import EXPECT_SECONDS, Pickup
from tests.once.parts import shared_cache

FAN = "oFan"


class Clock:
    """The time of day, which the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        clock = SimpleNamespace(time=lambda: self.now, monotonic=time.monotonic, sleep=time.sleep)
        monkeypatch.setattr(pickup, "time", clock)


@pytest.fixture
def cache() -> Cache:
    return shared_cache()


@pytest.fixture
def queue(cache: Cache) -> Pickup:
    return Pickup(cache)


def pick_up(queue: Pickup, openid: str = FAN, by: str = "word") -> str | None:
    """Take the next answer, and say that the fan gets it."""
    if (body := queue.take(openid, by)) is not None:
        queue.given(openid, by)
    return body


def test_answers_are_taken_once_in_the_order_in_which_they_were_asked(queue: Pickup) -> None:
    for key in ("k1", "k2", "k3"):
        queue.expect(FAN, key)
    for key in ("k3", "k1", "k2"):
        assert queue.keep(FAN, key, f"answer to {key}")
    assert [pick_up(queue) for _ in range(4)] == ["answer to k1", "answer to k2", "answer to k3", None]


def test_an_answer_that_is_there_is_taken_before_one_that_is_still_being_made(queue: Pickup) -> None:
    queue.expect(FAN, "k1")
    queue.keep(FAN, "k2", "second")
    assert (queue.first(FAN), pick_up(queue), pick_up(queue), queue.first(FAN)) == ("k1", "second", None, "k1")


def test_an_answer_that_nobody_expected_comes_last(queue: Pickup) -> None:
    queue.expect(FAN, "k1")
    queue.keep(FAN, "k2", "second")
    queue.keep(FAN, "k1", "first")
    assert [pick_up(queue), pick_up(queue)] == ["first", "second"]


def test_what_is_expected_twice_is_in_the_queue_once(queue: Pickup) -> None:
    queue.expect(FAN, "k1")
    queue.expect(FAN, "k1")
    assert queue.waiting(FAN) == 1
    queue.unexpect(FAN, "k1")
    assert (queue.waiting(FAN), queue.first(FAN)) == (0, None)


def test_another_fans_answers_are_not_touched(queue: Pickup) -> None:
    queue.keep(FAN, "k1", "of this fan")
    queue.keep("oFan2", "k2", "of another")
    queue.forget("oFan2")
    assert (pick_up(queue, "oFan2"), pick_up(queue)) == (None, "of this fan")


def test_who_is_forgotten_leaves_nothing_in_the_cache(cache: Cache, queue: Pickup) -> None:
    queue.expect(FAN, "k1")
    queue.keep(FAN, "k2", "answer")
    assert (queue.is_there("k1"), queue.is_there("k2"), queue.waiting(FAN)) == (False, True, 2)
    queue.forget(FAN)
    assert (queue.is_there("k2"), queue.waiting(FAN), cache.get("k2:late")) == (False, 0, None)
    assert cache.get(cache.key("late", FAN)) is None


def test_what_never_came_is_not_waited_for_for_ever_but_what_came_is_kept(
    queue: Pickup, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    queue.expect(FAN, "never")
    queue.keep(FAN, "came", "answer")
    clock.now += EXPECT_SECONDS + 2
    assert queue.waiting(FAN) == 1
    assert (pick_up(queue), queue.first(FAN)) == ("answer", None)


def test_an_answer_that_the_cache_does_not_take_is_not_in_the_queue(
    cache: Cache, queue: Pickup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "set", lambda *_: False)
    assert not queue.keep(FAN, "k1", "answer")
    assert queue.first(FAN) is None


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_many_at_once_lose_nothing_and_take_nothing_twice(cache: Cache, kind: str) -> None:
    one = Pickup(cache)
    each: Callable[[], Pickup] = (lambda: one) if kind == "threads" else (lambda: Pickup(cache))
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda number: each().keep(FAN, f"k{number}", f"{number}"), range(8)))
        taken = list(pool.map(lambda number: pick_up(each(), by=f"word {number}"), range(9)))
    assert kept == [True] * 8
    assert sorted(taken, key=str) == [*map(str, range(8)), None]


def test_a_lock_that_a_dead_process_left_delays_and_does_not_stop(
    cache: Cache, queue: Pickup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickup, "_LOCK_SECONDS", 1)
    cache.set(cache.key("late", FAN) + ":lock", '"of the dead"', 60)
    queue.keep(FAN, "k1", "answer")
    assert pick_up(queue) == "answer"
    assert cache.get(cache.key("late", FAN) + ":lock") == '"of the dead"'  # it is not ours to take away


def test_without_a_cache_there_is_no_queue_and_nobody_waits_for_a_lock(
    cache: Cache, queue: Pickup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickup, "_LOCK_SECONDS", 60)  # longer than a test may take
    cache.add = lambda *_: False
    cache.get = lambda key: None
    queue.expect(FAN, "k1")
    assert (pick_up(queue), queue.first(FAN), queue.waiting(FAN)) == (None, None, 0)


def decide(cache: Cache, word: str, decision: Decision) -> None:
    Facts(cache, 3, 60).decide(word, decision)


def test_an_answer_whose_taker_died_before_it_was_given_goes_to_the_next_who_asks(
    cache: Cache, queue: Pickup, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    queue.keep(FAN, "k1", "answer")
    assert queue.take(FAN, "word 1") == "answer"
    assert queue.take(FAN, "word 1") == "answer"  # another run of it
    assert (queue.take(FAN, "word 2"), queue.first(FAN), queue.waiting(FAN)) == (None, "k1", 1)
    clock.now -= 600  # a clock that is set back
    assert queue.take(FAN, "word 2") == "answer"
    clock.now += 604
    assert queue.take(FAN, "word 3") == "answer"
    queue.given(FAN, "word 3")
    assert (queue.take(FAN, "word 4"), queue.first(FAN)) == (None, None)


@pytest.mark.parametrize("kind", ["reply", "waiting"])
def test_an_answer_whose_taker_died_after_it_was_decided_is_not_given_again(
    kind: str, cache: Cache, queue: Pickup, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    queue.keep(FAN, "k1", "first")
    queue.keep(FAN, "k2", "second")
    queue.take(FAN, "word 1")
    decide(cache, "word 1", Decision(kind, "first"))
    clock.now += 10
    assert (queue.first(FAN), queue.waiting(FAN)) == ("k2", 1)
    assert (queue.take(FAN, "word 2"), cache.get("k1:late"), cache.get("k1:taker")) == ("second", None, None)


def test_an_answer_whose_taker_is_late_itself_waits_on(
    cache: Cache, queue: Pickup, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    queue.keep(FAN, "k1", "answer")
    queue.take(FAN, "word 1")
    decide(cache, "word 1", LATE)
    assert (queue.take(FAN, "word 2"), queue.take(FAN, "word 1")) == (None, "answer")
    clock.now += 10
    assert queue.take(FAN, "word 2") == "answer"


def test_a_cache_that_takes_no_note_of_the_taker_gives_the_answer_once(
    cache: Cache, queue: Pickup, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.keep(FAN, "k1", "answer")
    monkeypatch.setattr(cache, "set", lambda *_: False)
    assert (queue.take(FAN, "word 1"), queue.take(FAN, "word 2")) == ("answer", None)
