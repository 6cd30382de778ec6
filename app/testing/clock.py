"""The time of a test: it goes on as always, and the test moves it forward."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import time_machine

IS_HANDLER: ContextVar[bool] = ContextVar("IS_HANDLER", default=False)
"""Whether the code that runs belongs to a message of a Fan: only there does sleeping take no time."""
_real_sleep, _real_monotonic, _real_async_sleep = time.sleep, time.monotonic, asyncio.sleep


class Clock:
    """Replaces Python's clocks and ``sleep`` as long as somebody holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._offset = 0.0
        self._travel: Any = None
        self._traveller: Any = None
        self._sleepers: dict[object, tuple[float, Callable[[], object]]] = {}

    @property
    def sleepers(self) -> int:
        """How many handlers sleep."""
        return len(self._sleepers)

    def hold(self) -> None:
        """Begin to be the time of this process."""
        with self._lock:
            self._holders += 1
            if self._holders > 1:
                return
            self._offset = 0.0
            self._travel = time_machine.travel(time.time(), tick=True)
            self._traveller = self._travel.start()
            # The library leaves these alone.
            time.sleep, time.monotonic, asyncio.sleep = _sleep, self.now, _async_sleep  # type: ignore[assignment]

    def let_go(self) -> None:
        """Give the time back when nobody holds it any more; who sleeps is woken."""
        with self._lock:
            self._holders -= 1
            if self._holders:
                return
            time.sleep, time.monotonic, asyncio.sleep = _real_sleep, _real_monotonic, _real_async_sleep
            self._travel.stop()
            sleepers, self._sleepers = self._sleepers, {}
        for _, wake in sleepers.values():
            wake()

    def now(self) -> float:
        """Return the monotonic time."""
        return _real_monotonic() + self._offset

    def move(self, seconds: float) -> None:
        """Move the time forward, and wake who has slept until then."""
        with self._lock:
            self._offset += seconds
            self._traveller.shift(seconds)
            now = self.now()
            awake = [sleeper for sleeper, (until, _) in self._sleepers.items() if until <= now]
            woken = [self._sleepers.pop(sleeper)[1] for sleeper in awake]
        for wake in woken:
            wake()

    def sleeps(self, seconds: float, wake: Callable[[], object]) -> object:
        """Note somebody who sleeps and is to be woken by ``wake``; return what ``wakes`` takes."""
        sleeper = object()
        with self._lock:
            self._sleepers[sleeper] = self.now() + seconds, wake
        return sleeper

    def wakes(self, sleeper: object) -> None:
        """Note that somebody sleeps no more."""
        with self._lock:
            self._sleepers.pop(sleeper, None)


CLOCK = Clock()


def _sleep(seconds: float) -> None:
    if not IS_HANDLER.get() or seconds <= 0:
        _real_sleep(seconds)
        return
    woken = threading.Event()
    sleeper = CLOCK.sleeps(seconds, woken.set)
    woken.wait(seconds)
    CLOCK.wakes(sleeper)


async def _async_sleep(delay: float, result: Any = None) -> Any:
    if not IS_HANDLER.get() or delay <= 0:
        return await _real_async_sleep(delay, result)
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    sleeper = CLOCK.sleeps(delay, lambda: loop.call_soon_threadsafe(woken.set))
    timer = loop.call_later(delay, woken.set)
    try:
        await woken.wait()
    finally:
        timer.cancel()
        CLOCK.wakes(sleeper)
    return result
