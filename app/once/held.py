"""The held deliveries of this process: who waits for the answer to which message, and when each must be looked at."""

import heapq
import itertools
import math
import threading
from typing import Any, Protocol

from app.once.answer import ANSWER_SECONDS, Answer

# While the caller may just have hung up, no answer is risked on it: WeChat waits 5 seconds, and its hanging up takes a
# moment to be seen. Who is still there after that is a slower caller.
DOUBT_SECONDS = 5.5
HELD_SECONDS = 60.0


# Files of a process that are not held connections: its own sockets, databases, caches, what handlers open.
_FILES_BESIDE = 500


def most_held(files: int) -> int:
    """Return how many deliveries a process holds that may open so many files."""
    return max(files - _FILES_BESIDE, files // 2)


class Caller(Protocol):
    """Who made a delivery, and the connection on which it is answered."""

    def hold(self) -> int:
        """Keep the connection beyond the request; return its descriptor, -1 where its end cannot be seen.

        Raises OSError where there is no descriptor left.
        """

    def let_go(self) -> None:
        """Keep the connection no more than the request does."""

    def is_gone(self) -> bool:
        """Return whether the other side has hung up, as far as that can be seen."""

    @property
    def is_seen(self) -> bool:
        """Whether it can be seen that the other side hangs up."""

    def reply(self, number: int, answer: Answer) -> bool:
        """Answer delivery ``number``; return False where the other side had gone."""

    def drop(self, number: int, answer: Answer) -> None:
        """End the connection without a word; ``answer`` is for the log."""


class Delivery:
    """One delivery of a message. ``arrived`` is monotonic; ``owner`` is the process whose answer it waits for.

    ``handler`` is for the log: the row that runs for this delivery.

    ``caller`` is None for a message that is only followed, in case its owner turns out to be dead.
    """

    def __init__(self, message: Any, caller: Caller | None, arrived: float) -> None:
        self.message = message
        self.caller = caller
        self.arrived = arrived
        self.key = ""
        self.claim = ""
        self.number = 1
        self.is_last = False
        self.is_in_request = caller is not None
        self.owner = ""
        self.generation = 1
        self.handler = "-"
        self.descriptor = -1
        self.timer = 0

    def drop(self, outcome: str) -> None:
        """End the caller's connection without a word."""
        assert self.caller  # noqa: S101 (a followed message has no connection)
        self.caller.drop(self.number, Answer("", outcome, self.handler))

    @property
    def answer_by(self) -> float:
        """The monotonic time until which WeChat surely listens."""
        return self.arrived + ANSWER_SECONDS

    def can_carry(self, now: float) -> bool:
        """Return whether the caller surely listens now, as far as time tells."""
        if now < self.answer_by or self.is_last:
            return True
        return self.caller is not None and self.caller.is_seen and now >= self.arrived + DOUBT_SECONDS

    def is_in_doubt(self, now: float) -> bool:
        """Return whether it is worth waiting to see if the caller has hung up."""
        return self.caller is not None and self.caller.is_seen and now < self.arrived + DOUBT_SECONDS


class Held:
    """Deliveries by their message's key, by their descriptor, and by the time at which they must be looked at.

    Whoever ends a delivery removes it first; ``remove`` is true for one thread only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._by_key: dict[str, list[Delivery]] = {}
        self._by_descriptor: dict[int, Delivery] = {}
        self._times: list[tuple[float, int]] = []
        self._by_timer: dict[int, Delivery] = {}
        self._serial = itertools.count(1)

    def __len__(self) -> int:
        return self._count

    @property
    def has_any(self) -> bool:
        """Whether anybody waits, or a message is followed."""
        return bool(self._by_key)

    def add(self, delivery: Delivery, wakes_at: float) -> None:
        """Hold a delivery, to be looked at when ``wakes_at`` (monotonic) comes."""
        with self._lock:
            self._by_key.setdefault(delivery.key, []).append(delivery)
            self._count += delivery.caller is not None
            if delivery.descriptor >= 0:
                self._by_descriptor[delivery.descriptor] = delivery
            self._wake_at(delivery, wakes_at)

    def wake_at(self, delivery: Delivery, wakes_at: float) -> None:
        """Look at a held delivery at another time."""
        with self._lock:
            self._wake_at(delivery, wakes_at)

    def remove(self, delivery: Delivery) -> bool:
        """Take a delivery out; return False where somebody else has."""
        with self._lock:
            of_key = self._by_key.get(delivery.key, [])
            if delivery not in of_key:
                return False
            of_key.remove(delivery)
            self._count -= delivery.caller is not None
            if not of_key:
                del self._by_key[delivery.key]
            if self._by_descriptor.get(delivery.descriptor) is delivery:
                del self._by_descriptor[delivery.descriptor]
            self._by_timer.pop(delivery.timer, None)
            return True

    def of(self, key: str) -> list[Delivery]:
        """Return who waits for the answer to this message."""
        with self._lock:
            return list(self._by_key.get(key, ()))

    def on(self, descriptor: int) -> Delivery | None:
        """Return the delivery on this connection."""
        return self._by_descriptor.get(descriptor)

    def elsewhere(self, me: str) -> list[Delivery]:
        """Return who waits for an answer that another process than ``me`` makes."""
        with self._lock:
            return [one for waiting in self._by_key.values() for one in waiting if one.owner != me]

    def followed(self) -> list[Delivery]:
        """Return the messages that are followed without a caller."""
        with self._lock:
            return [one for waiting in self._by_key.values() for one in waiting if one.caller is None]

    def next_time(self) -> float:
        """Return when the next one must be looked at."""
        with self._lock:
            while self._times and self._times[0][1] not in self._by_timer:
                heapq.heappop(self._times)
            return self._times[0][0] if self._times else math.inf

    def due(self, now: float) -> list[Delivery]:
        """Return those whose time has come; each is looked at again only if it is given another time."""
        found = []
        with self._lock:
            while self._times and self._times[0][0] <= now:
                delivery = self._by_timer.pop(heapq.heappop(self._times)[1], None)
                if delivery:
                    found.append(delivery)
        return found

    def _wake_at(self, delivery: Delivery, wakes_at: float) -> None:
        self._by_timer.pop(delivery.timer, None)
        if wakes_at < math.inf:
            delivery.timer = next(self._serial)
            self._by_timer[delivery.timer] = delivery
            heapq.heappush(self._times, (wakes_at, delivery.timer))
