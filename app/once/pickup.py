"""The answers that a fan is to pick up: a queue in the cache for each fan, in the order in which they were asked."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.cache import Cache, is_numbers, to_json, understood
from app.once.facts import LATE, Facts

_KEEP_SECONDS = 48 * 3600
# A handler that has not ended by then is not waited for by the pickup word.
EXPECT_SECONDS = 600
_LOCK_SECONDS = 3
# Who takes an answer says within a moment what became of it; after this, who took it has died.
_TAKEN_SECONDS = 3
_LOCK_POLL_SECONDS = 0.05


class Pickup:
    """Each fan's queue of messages; the answer to a message lies under a key of its own, once it is there.

    Who takes an answer leaves it there until it is decided that it is given: who dies in between loses nothing.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._facts = Facts(cache, 0, 0)  # to be read alone

    def expect(self, openid: str, key: str) -> None:
        """Put the message ``key`` into the queue; its answer comes later."""
        with self._changed(openid) as queue:
            _put(queue, key)

    def unexpect(self, openid: str, key: str) -> None:
        """Take the message out of the queue: there is nothing to wait for after all."""
        if self._queue(openid):
            with self._changed(openid) as queue:
                queue[:] = [entry for entry in queue if entry[0] != key]

    def keep(self, openid: str, key: str, body: str) -> bool:
        """Keep the answer to the message ``key``; return whether the cache takes it."""
        with self._changed(openid) as queue:  # both at once: whoever takes the answer takes the message out
            if not self._cache.set(_body(key), to_json(body), _KEEP_SECONDS):
                return False
            _put(queue, key)
        return True

    def take(self, openid: str, taker: str) -> str | None:
        """Return the first answer that is there and nobody else takes, for the message ``taker``."""
        with self._changed(openid) as queue:
            for entry in list(queue):
                key, since = entry
                by, at = self._taker(key)
                if self._is_given(by):
                    queue.remove(entry)
                elif by not in ("", taker) and abs(time.time() - at) <= _TAKEN_SECONDS:
                    continue
                elif kept := understood(self._cache.get(_body(key)), lambda body: isinstance(body, str)):
                    if not self._cache.set(_taker_key(key), to_json([taker, time.time()]), _KEEP_SECONDS):
                        queue.remove(entry)  # or the next to come would take it, too
                    return str(kept)
                elif time.time() - since > EXPECT_SECONDS:
                    queue.remove(entry)
        return None

    def given(self, openid: str, taker: str) -> None:
        """Take out of the queue what the message ``taker`` has taken: it is decided that the fan gets it."""
        with self._changed(openid) as queue:
            queue[:] = [entry for entry in queue if self._taker(entry[0])[0] != taker]

    def first(self, openid: str) -> str | None:
        """Return the key of the message whose answer comes first, None for an empty queue."""
        return next((key for key, _ in self._queue(openid) if not self._is_given(self._taker(key)[0])), None)

    def is_there(self, key: str) -> bool:
        """Return whether the answer to the message ``key`` can be taken."""
        return self._cache.get(_body(key)) is not None

    def waiting(self, openid: str) -> int:
        """Return how many answers wait for the fan, those that are still being made included."""
        now, queue = time.time(), self._queue(openid)
        left = [(key, since) for key, since in queue if not self._is_given(self._taker(key)[0])]
        return sum(now - since <= EXPECT_SECONDS or self.is_there(key) for key, since in left)

    def forget(self, openid: str) -> None:
        """Forget the fan's queue and all that is in it."""
        if self._queue(openid):
            with self._changed(openid) as queue:
                queue.clear()

    def _taker(self, key: str) -> tuple[str, float]:
        """Return which message took the answer, and when; "" where none did."""
        by, at = understood(self._cache.get(_taker_key(key)), _is_entry) or ("", 0.0)
        return by, at

    def _is_given(self, taker: str) -> bool:
        """Return whether it was decided that ``taker`` is answered, with what it took."""
        return bool(taker) and self._facts.decided(taker) not in (None, LATE)

    def _queue(self, openid: str) -> list[list[Any]]:
        found = self._cache.get(self._key(openid))
        queue: list[list[Any]] = understood(found, _is_queue) or []
        return queue

    @contextmanager
    def _changed(self, openid: str) -> Iterator[list[list[Any]]]:
        """Give the fan's queue to be changed, one thread of all processes at a time."""
        key = self._key(openid)
        give_up = time.monotonic() + _LOCK_SECONDS
        mine = to_json(secrets.token_hex(6))
        # A cache that is down gives the lock to everybody: there is no queue in it either.
        while self._cache.claim(f"{key}:lock", mine, _LOCK_SECONDS) != mine and time.monotonic() < give_up:
            time.sleep(_LOCK_POLL_SECONDS)
        try:
            queue = self._queue(openid)
            before = list(queue)
            yield queue
            if not queue:
                self._cache.delete(key)
            elif queue != before:
                self._cache.set(key, to_json(queue), _KEEP_SECONDS)
            for gone, _ in [entry for entry in before if entry not in queue]:  # after the queue, which must not miss it
                self._cache.delete(_body(gone))
                self._cache.delete(_taker_key(gone))
        finally:
            if self._cache.get(f"{key}:lock") == mine:
                self._cache.delete(f"{key}:lock")

    def _key(self, openid: str) -> str:
        return self._cache.key("late", openid)


def _is_queue(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_entry, value))


def _is_entry(value: Any) -> bool:
    key, since = value
    return isinstance(value, list) and isinstance(key, str) and is_numbers(since)


def _body(key: str) -> str:
    return f"{key}:late"


def _taker_key(key: str) -> str:
    return f"{key}:taker"


def _put(queue: list[list[Any]], key: str) -> None:
    if key not in (known for known, _ in queue):
        queue.append([key, int(time.time())])
