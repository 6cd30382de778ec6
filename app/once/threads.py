"""Threads made on demand, which end when there is nothing to do for a while."""

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable

_IDLE_SECONDS = 10.0
logger = logging.getLogger("wechat")
_ALL: "weakref.WeakSet[Threads]" = weakref.WeakSet()


class Threads:
    """At most ``most`` threads; what is started while all are busy waits for one of them."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._changed = threading.Condition()
        self._todo: deque[Callable[[], object]] = deque()
        self._count = self._idle = 0

        _ALL.add(self)

    def _forget(self) -> None:
        """Begin anew in a process that was forked: the parent's threads are not here, and what they do is theirs."""
        self._changed = threading.Condition()
        self._todo = deque()
        self._count = self._idle = 0

    def __len__(self) -> int:
        """How many are at work, or wait for a thread."""
        with self._changed:
            return self._count - self._idle + len(self._todo)

    def start(self, call: Callable[[], object]) -> None:
        """Let a thread call ``call``; raises RuntimeError where none can be had."""
        self.start_some_time(call)
        with self._changed:
            if self._count or call not in self._todo:  # a thread comes to it
                return
            self._todo.remove(call)
        raise RuntimeError("no thread to be had")

    def start_some_time(self, call: Callable[[], object]) -> None:
        """Let a thread call ``call``, if need be when one can be had again, and ``tend`` is called."""
        with self._changed:
            self._todo.append(call)
        self.tend()

    def tend(self) -> None:
        """Make a thread where one is missing."""
        with self._changed:
            if self._idle >= len(self._todo):
                self._changed.notify(len(self._todo))
                return
            if self._count >= self._most:
                return
            self._count += 1
        try:
            # A daemon: a handler that never returns must not keep the process; a graceful stop waits by itself.
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError:
            with self._changed:
                self._count -= 1
            logger.error("no thread to be had: TasksMax or the memory is too small for the threads")

    def _work(self) -> None:
        while call := self._next():
            try:
                call()
            except BaseException:  # whatever it was, the next one is none the worse
                logger.exception("work beside the requests failed")
            del call  # an idle thread keeps no message alive

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            self._idle += 1
            try:
                while not self._todo:
                    if not self._changed.wait(_IDLE_SECONDS) and not self._todo:
                        self._count -= 1
                        return None
                return self._todo.popleft()
            finally:
                self._idle -= 1


def _forget_all() -> None:
    for threads in list(_ALL):
        threads._forget()


os.register_at_fork(after_in_child=_forget_all)
