"""Waiting for a key: woken by one's own process at once, by another one soon, and never waiting for a dead one."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cachelib.simple import SimpleCache

from app.backends import Opened
from app.cache import Cache
from app.callback.watch import DIED, Watch
from tests.servers import wait_for


class Backend(SimpleCache):  # type: ignore[misc]
    """A cache that several processes share, and that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[float] = []
        self.down = False

    def get_many(self, *keys: str) -> list[Any]:
        self.looks.append(time.monotonic())
        if self.down:
            raise OSError("down")
        return list(super().get_many(*keys))


class Shared:
    """Two processes, as far as the cache can tell."""

    def __init__(self, *, shared: bool = True) -> None:
        self.backend = Backend()
        self.cache = Cache(Opened(self.backend, (OSError,)), "wx0", shared=shared)
        self.mine, self.other = Watch(self.cache), Watch(self.cache)
        self.pool = ThreadPoolExecutor(64)

    def wait(self, key: str, seconds: float, owner: str | None) -> Any:
        return self.pool.submit(self.mine.wait, key, seconds, owner)


@pytest.fixture
def world() -> Shared:
    return Shared()


def waits(watch: Watch, key: str, number: int = 1) -> Callable[[], bool]:
    return lambda: len(watch._waiting.get(key, [])) == number


def test_what_stands_there_already_is_not_waited_for(world: Shared) -> None:
    world.cache.set("k", "1", 60)
    assert world.mine.wait("k", 5, world.mine.me()) == "1"


def test_a_thread_is_woken_by_its_own_process_and_the_cache_is_not_asked(world: Shared) -> None:
    me = world.mine.me()
    waiting = [world.wait("k", 10, me) for _ in range(20)]
    wait_for(waits(world.mine, "k", 20))
    threading.Event().wait(0.3)
    world.mine.publish("k", "1")
    assert [future.result(1) for future in waiting] == ["1"] * 20
    assert world.backend.looks == []


def test_what_another_process_stores_is_seen_and_50_threads_ask_no_more_often_than_one(world: Shared) -> None:
    other = world.other.me()
    world.mine.me()
    waiting = [world.wait(f"k{number}", 10, other) for number in range(50)]
    wait_for(lambda: len(world.backend.looks) >= 8)
    for number in range(50):
        world.cache.set(f"k{number}", str(number), 60)
    assert [future.result(1) for future in waiting] == [str(number) for number in range(50)]
    pauses = [later - sooner for sooner, later in zip(world.backend.looks, world.backend.looks[1:], strict=False)]
    assert min(pauses) >= 0.05


def test_nobody_asks_a_cache_in_which_no_other_process_can_be() -> None:
    alone = Shared(shared=False)
    alone.mine.me()
    assert alone.wait("k", 0.3, None).result() is None
    assert alone.backend.looks == []


def test_the_time_ends_a_wait(world: Shared) -> None:
    assert world.wait("k", 0.1, world.other.me()).result(2) is None
    assert world.mine._waiting == {}


def test_the_death_of_the_owner_ends_a_wait(world: Shared) -> None:
    world.mine.me()
    started = time.monotonic()
    assert world.wait("k", 10, "died before its first beat").result(5) == DIED
    assert 1.5 < time.monotonic() - started < 4


def test_an_owner_that_beats_is_not_dead(world: Shared) -> None:
    assert world.wait("k", 3, world.other.me()).result(5) is None


def test_a_cache_that_is_down_kills_nobody(world: Shared) -> None:
    world.mine.me()
    waiting = world.wait("k", 3, "seems dead")
    wait_for(lambda: len(world.backend.looks) >= 15)
    world.backend.down = True
    wait_for(lambda: world.cache._failing)
    world.backend.down = False
    assert waiting.result(5) is None


def test_each_process_has_a_name_of_its_own(world: Shared) -> None:
    assert world.mine.me() == world.mine.me() != world.other.me()
