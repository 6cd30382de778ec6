"""The event loop of this process, for ``async def`` handlers and middleware."""

import asyncio
import contextvars
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

from app.once.forked import end_elsewhere, in_this_process
from app.once.liveness import FORKS

_BLOCKED_SECONDS = 1.0
# From the handler's own on: where a library waits, the library's are of no help.
_FRAMES_SAID = 3
# For asyncio.to_thread: Python's own 6 on two cores would be a queue for all conversations.
_MOST_TO_THREAD = 1000
logger = logging.getLogger("wechat")


class Outcome(NamedTuple):
    """What a coroutine came to: its value, or what it raised."""

    value: Any = None
    error: BaseException | None = None


Then = Callable[[Outcome], object]


class OnLoop:
    """Awaited in the road's own coroutine, which no loop runs: suspends it until ``coroutine`` has ended on one."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine

    def __await__(self) -> Generator["OnLoop", Any, Any]:
        return (yield self)


class Loop:
    """One event loop in a thread of its own, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started_after = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._answered_at = self._said_at = 0.0
        self.is_cut = False

    def start(
        self, coroutine: Coroutine[Any, Any, Any], name: str, then: Then, context: contextvars.Context | None = None
    ) -> None:
        """Run ``coroutine`` on the loop, and call ``then`` with what it came to, on the loop, too.

        Raises RuntimeError where no thread can be had for the loop.
        """
        loop = self._running()
        guarded = _guarded(coroutine, then)
        loop.call_soon_threadsafe(lambda: loop.create_task(guarded, name=name, context=context))

    def value_of(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run ``coroutine`` on the loop, wait for it in this thread, and return or raise what it came to."""
        ended, found = threading.Event(), [Outcome()]

        def note(outcome: Outcome) -> None:
            found[0] = outcome
            ended.set()

        self.start(coroutine, getattr(coroutine, "__qualname__", ""), note, contextvars.copy_context())
        ended.wait()
        if found[0].error:
            raise found[0].error
        return found[0].value

    def cut(self, seconds: float) -> None:
        """Cancel all that runs on the loop, and give it ``seconds`` to end."""
        self.is_cut = True
        if self._loop and self._started_after == FORKS.count:
            with suppress(Exception):
                asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(seconds)

    def look(self) -> None:
        """Say in the log which handler blocks the loop, if one has for a second; to be called twice a second."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or self._started_after != FORKS.count:
            return
        blocked_seconds, task = time.monotonic() - self._answered_at, asyncio.current_task(loop)
        if task and blocked_seconds > _BLOCKED_SECONDS and self._said_at < self._answered_at:
            self._said_at = time.monotonic()
            frame = sys._current_frames().get(thread.ident or 0)
            stack = traceback.extract_stack(frame) if frame else []
            begins = max((n for n, one in enumerate(stack, 1) if one.filename == __file__), default=0)
            where = "".join(traceback.format_list(stack[begins:][:_FRAMES_SAID])).rstrip()
            what = "blocks the event loop, and every async handler of this process waits; expected await, or"
            logger.error("%s %s asyncio.to_thread\n%s", task.get_name(), what, where)
        loop.call_soon_threadsafe(self._note_answer)

    def _note_answer(self) -> None:
        self._answered_at = time.monotonic()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._started_after != FORKS.count:
                loop = asyncio.new_event_loop()
                loop.set_default_executor(ThreadPoolExecutor(_MOST_TO_THREAD, "to_thread"))
                thread = threading.Thread(target=loop.run_forever, name="loop", daemon=True)
                thread.start()
                self._loop, self._thread, self._started_after = loop, thread, FORKS.count
                self._answered_at, self._said_at = time.monotonic(), 0.0
            return self._loop


async def _guarded(coroutine: Coroutine[Any, Any, Any], then: Then) -> None:
    process = os.getpid()
    try:
        outcome = Outcome(await coroutine)
    except BaseException as error:  # SystemExit, too, which would end the loop
        outcome = Outcome(error=error)
    end_elsewhere(process)
    then(outcome)


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def in_thread(call: Callable[[Any], Any]) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """Return a coroutine function that makes a plain call in a thread, so that it does not block the loop."""

    def guarded(argument: Any) -> Any:
        try:
            return in_this_process(call, argument)
        except StopIteration as error:  # which no future can hold
            raise RuntimeError("a handler raised StopIteration") from error

    async def called(argument: Any) -> Any:
        return await asyncio.to_thread(guarded, argument)

    return called


LOOP = Loop()
