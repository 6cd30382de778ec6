"""The handlers that run in this process: inline in a request's thread, in threads beside, or on the event loop."""

import contextvars
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from app.errors import Busy
from app.metrics import IN_FLIGHT, MOST_IN_FLIGHT
from app.once.answer import Answer, Answers
from app.once.loop import LOOP, OnLoop, Outcome
from app.once.threads import Threads

INLINE, THREAD, ON_LOOP = "inline", "thread", "loop"
MOST_ON_LOOP = 10_000
_MOST_RESUMING = 16
logger = logging.getLogger("wechat")
Done = Callable[[Answer | None], object]
"""Called with the answer; with None where the run was cut before there was one."""


class Runs:
    """Runs handlers, at most ``most`` plain ones at once, of which ``most_inline`` in the threads of requests.

    One row of the table gets nine tenths, so that a slow handler leaves room for the quick ones.
    """

    def __init__(self, answers: Answers, most: int, most_inline: int) -> None:
        self._answers = answers
        self.most = most
        self._most_of_row = max(most * 9 // 10, 1)
        self._most_inline = most_inline
        self._lock = threading.Lock()
        self._running = dict.fromkeys((INLINE, THREAD, ON_LOOP), 0)
        self._in_threads = 0
        self._of_row: defaultdict[int, int] = defaultdict(int)
        self._gauges = {place: IN_FLIGHT.labels(place) for place in self._running}
        # Some more than handlers may run: a thread also brings the answer to who waits for it.
        self._threads = Threads("handler", most + _MOST_RESUMING)
        self._resuming = Threads("resume", _MOST_RESUMING)
        for place, bound in ((INLINE, most_inline), (THREAD, most), (ON_LOOP, MOST_ON_LOOP)):
            MOST_IN_FLIGHT.labels(place).set(bound)
            self._gauges[place].set(0)  # those of a worker that died

    @property
    def beside(self) -> int:
        """How many threads and coroutines are at work beside the requests."""
        return self._running[ON_LOOP] + len(self._threads) + len(self._resuming)

    def enter(self, message: Any, *, may_be_inline: bool) -> str:
        """Return where the message's handler shall run, and count it there until ``leave``. Raises Busy."""
        row, running = id(message.row), self._running
        with self._lock:
            is_full = running[ON_LOOP] >= MOST_ON_LOOP if message.row.is_async else False
            if message.row.takes_thread:  # behind async middleware, too
                is_full |= self._in_threads >= self.most or self._of_row[row] >= self._most_of_row
            if is_full:
                raise Busy
            # The pickup word may have to wait for its answer, which costs a held delivery no thread.
            may_be_inline = may_be_inline and not message.is_pickup and running[INLINE] < self._most_inline
            place = ON_LOOP if message.row.is_async else INLINE if may_be_inline else THREAD
            running[place] += 1
            self._in_threads += message.row.takes_thread
            self._of_row[row] += 1
            self._gauges[place].set(running[place])
        return place

    def leave(self, message: Any, place: str) -> None:
        """Count the handler no more."""
        with self._lock:
            self._running[place] -= 1
            self._in_threads -= message.row.takes_thread
            self._of_row[id(message.row)] -= 1
            self._gauges[place].set(self._running[place])

    def has_room_beside(self) -> bool:
        """Tell whether half of the plain handlers that may run do not: what can wait leaves the rest to others."""
        with self._lock:
            return self._in_threads * 2 < self.most

    def inline(self, message: Any) -> Answer:
        """Return the answer of a handler that entered inline; it runs in this thread."""
        try:
            self._answers.answer(message).send(None)
        except StopIteration as ended:
            answer: Answer = ended.value
            return answer
        finally:
            self.leave(message, INLINE)
        raise AssertionError("a plain handler's run was suspended")

    def start(self, message: Any, place: str, done: Done) -> None:
        """Run a handler that entered elsewhere, and call ``done`` with its answer. Raises Busy without a thread."""
        run = _Run(self, self._answers, message, place, done)
        if place == ON_LOOP:
            run.begin()
            return
        try:
            self._threads.start(run.begin)
        except RuntimeError as error:
            self.leave(message, place)
            raise Busy from error

    def resume(self, call: Callable[[], object]) -> None:
        """Call ``call`` in a thread that may wait for cache and network."""
        self._resuming.start_some_time(call)

    def go_on(self, place: str, call: Callable[[], object]) -> None:
        """Call ``call``, in which a plain handler may run where ``place`` is a thread."""
        (self._threads if place == THREAD else self._resuming).start_some_time(call)

    def tend(self) -> None:
        """Make the threads that were not to be had when they were wanted."""
        self._threads.tend()
        self._resuming.tend()


class _Run:
    """One run beside the requests, in the context of the request that began it and the application's own."""

    def __init__(self, runs: Runs, answers: Answers, message: Any, place: str, done: Done) -> None:
        self._runs = runs
        self._answers = answers
        self._message = message
        self._name = message.row.name
        self._place = place
        self._done = done
        self._context = contextvars.copy_context()
        self._stack = ExitStack()
        self._coroutine: Coroutine[Any, Any, Answer] | None = None

    def begin(self) -> None:
        self._go(self._begin)

    def _go(self, step: Callable[[], OnLoop | None]) -> None:
        """Go on up to the next wait or to the end."""
        if (suspended := self._context.run(step)) is None:
            return
        try:
            # Not before the context has been left: its outcome, which enters it again, may be there at once.
            LOOP.start(suspended.coroutine, self._name, self._resume, self._context.copy())
        except RuntimeError:
            logger.exception("a run broke off")
            self._context.run(self._end, None)

    def _begin(self) -> OnLoop | None:
        self._stack.enter_context(self._answers.context())
        coroutine = self._coroutine = self._answers.answer(self._message)
        return self._step(lambda: coroutine.send(None))

    def _step(self, step: Callable[[], OnLoop]) -> OnLoop | None:
        try:
            return step()
        except StopIteration as ended:
            self._end(ended.value)
        except BaseException:  # what the road does not answer for itself: another delivery may fare better
            logger.exception("a run broke off")
            self._end(None)
        return None

    def _resume(self, outcome: Outcome) -> None:
        # Not on the loop: cache and network come next.
        self._runs.go_on(self._place, lambda: self._go(lambda: self._go_on(outcome)))

    def _go_on(self, outcome: Outcome) -> OnLoop | None:
        coroutine, error = self._coroutine, outcome.error
        assert coroutine  # noqa: S101 (it was begun)
        if error and LOOP.is_cut:
            coroutine.close()
            self._end(None)
            return None
        if error:
            return self._step(lambda: coroutine.throw(error))
        return self._step(lambda: coroutine.send(outcome.value))

    def _end(self, answer: Answer | None) -> None:
        self._runs.leave(self._message, self._place)
        try:
            self._done(answer)
        finally:
            self._stack.close()
