"""How many handlers may run at once, so that slow ones never take the last thread."""

import threading
from collections.abc import Callable
from typing import Any

from app.errors import Busy
from app.metrics import IN_FLIGHT, MOST_IN_FLIGHT


class Slots:
    """The handlers in flight in this process, of ``threads`` threads that take requests.

    Half of the threads are for handlers: WeChat's next delivery of a message needs one too, to wait for its answer.
    One row of the table gets nine tenths of that half, so that a slow handler leaves room for the quick ones.
    """

    def __init__(self, threads: int) -> None:
        self.most = max(threads // 2, 1)
        self.most_of_one = max(self.most * 9 // 10, 1)
        self._lock = threading.Lock()
        self._in_flight: dict[int, int] = {}
        self._total = 0
        MOST_IN_FLIGHT.set(self.most)
        IN_FLIGHT.set(0)  # those of a worker that died

    def has_room_beside(self, handler: Any) -> bool:
        """Tell whether half of the handlers that may run do not: what can wait leaves the rest to those who cannot."""
        with self._lock:
            return self._total * 2 < self.most and self._in_flight.get(id(handler), 0) * 2 < self.most_of_one

    def call(self, handler: Any, call: Callable[[Any, Any], Any], message: Any) -> Any:
        """Return ``call(handler, message)``, made while a slot is held. Raises Busy where there is none."""
        row = id(handler)  # not every callable has a hash
        with self._lock:
            of_this = self._in_flight.get(row, 0)
            if self._total >= self.most or of_this >= self.most_of_one:
                raise Busy
            self._total += 1
            self._in_flight[row] = of_this + 1
            IN_FLIGHT.set(self._total)
        try:
            return call(handler, message)
        finally:
            with self._lock:
                self._total -= 1
                IN_FLIGHT.set(self._total)
                self._in_flight[row] -= 1
