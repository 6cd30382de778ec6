"""The one thread of a process that looks after what waits: it keeps appointments, and sees who hangs up."""

import logging
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from app.once.liveness import FORKS

# Nobody need wake the thread for what is due later than this.
LONGEST_SLEEP_SECONDS = 0.5
_GONE = select.EPOLLRDHUP | select.EPOLLONESHOT
logger = logging.getLogger("wechat")


class Task(NamedTuple):
    """What is done again and again: ``tend()`` at the monotonic time ``due()``, infinity for not now."""

    due: Callable[[], float]
    tend: Callable[[], object]


def every(seconds: float, tend: Callable[[], object]) -> Task:
    """Return a task that is due every ``seconds``."""
    last = [0.0]

    def tend_and_note() -> None:
        last[0] = time.monotonic()
        tend()

    return Task(lambda: last[0] + seconds, tend_and_note)


class Pulse:
    """Tends tasks in a thread of its own, and calls ``hung_up(descriptor)`` for each watched connection that ends."""

    def __init__(self, hung_up: Callable[[int], object]) -> None:
        self._hung_up = hung_up
        self._tasks: list[Task] = []
        self._made_after = self._started_after = -1
        self._lock = threading.Lock()
        self._epoll: select.epoll | None = None
        self._bell = -1

    def add(self, task: Task) -> None:
        """Tend ``task``, too."""
        self._tasks.append(task)

    def start(self) -> None:
        """Start the thread, once in each process; no matter how often this is called."""
        if self._started_after == FORKS.count:
            return
        with self._lock:
            if self._started_after == FORKS.count:
                return
            if self._made_after != FORKS.count:  # not again after a start that found no thread: some are watched
                self._epoll, self._bell = select.epoll(), os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._epoll.register(self._bell, select.EPOLLIN)
                self._made_after = FORKS.count
            try:
                todo = (weakref.ref(self), self._epoll, self._bell)
                threading.Thread(target=_beat, args=todo, name="pulse", daemon=True).start()
                self._started_after = FORKS.count
            except RuntimeError as error:  # the next message tries again
                logger.error("%s: TasksMax or the memory is too small for the threads", error)

    def wake(self) -> None:
        """Let the thread look again at what is due."""
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def watch(self, descriptor: int) -> None:
        """Call ``hung_up`` once when the other side of this connection hangs up."""
        if self._epoll:
            self._epoll.register(descriptor, _GONE)

    def unwatch(self, descriptor: int) -> None:
        """Forget the connection; before it is closed, since its number will be another's."""
        if self._epoll:
            with suppress(OSError):
                self._epoll.unregister(descriptor)

    def tend(self) -> None:
        """Tend each task that is due."""
        for task in self._tasks:
            if task.due() <= time.monotonic():
                guarded(task.tend)

    def beat(self, gone: Iterable[int]) -> float:
        """See to the connections that are ``gone`` and to what is due; return in how many seconds the next task is."""
        for descriptor in gone:
            guarded(self._hung_up, descriptor)
        self.tend()
        due = min((task.due() for task in self._tasks), default=0.0)
        return min(max(due - time.monotonic(), 0.0), LONGEST_SLEEP_SECONDS)


def _beat(pulse_of: "weakref.ref[Pulse]", epoll: select.epoll, bell: int) -> None:
    """Be the thread, as long as somebody has the pulse: an application that is thrown away leaves no thread behind."""
    seconds = 0.0
    while True:
        found = [descriptor for descriptor, _ in epoll.poll(seconds)]
        if bell in found:
            os.eventfd_read(bell)
        pulse = pulse_of()
        if pulse is None:
            break
        seconds = pulse.beat(descriptor for descriptor in found if descriptor != bell)
        del pulse
    epoll.close()
    os.close(bell)


def guarded(call: Callable[..., object], *args: object) -> None:
    """Call ``call``, and log what it raises."""
    try:
        call(*args)
    except Exception:  # whatever stands in the cache: without this thread nobody who waits is answered
        logger.exception("what waits cannot be looked after")
