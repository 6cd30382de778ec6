"""A value of WeChat that lives for a while: fetched once for all threads, processes and machines, and renewed in time.

What the shared cache holds of one:

    NAME          the value: [value, ends, renew_at, fetched_at, replaced]; times are seconds since 1970
    NAME:fetching who fetches it just now
    NAME:failed   why the last fetch failed, for those who waited for it
"""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from app import metrics
from app.cache import Cache, is_numbers, to_json, understood
from app.errors import ApiError

Fetch = Callable[[bool], tuple[str, float]]
"""``fetch(force)`` asks WeChat and returns the value and for how many seconds it is good."""

# Longer than a fetch takes, with its repetitions: who claimed it longer ago has died.
_FETCH_SECONDS = 20
_POLL_SECONDS = 0.05
_FAILED_SECONDS = 3
# WeChat itself renews a token five minutes before its end; before that it gives out the same one.
_RENEW_SECONDS = 240.0
# A value that is bad soon after it replaced a bad one is replaced no more for so long, twice as long each time.
_REPLACE_SECONDS, _LONGEST_REPLACE_SECONDS = 10.0, 600.0
# WeChat takes 20 forced refreshes a day.
_FORCE_APART_SECONDS = 4500
_UNCACHED_SECONDS = 60.0
logger = logging.getLogger("wechat.api")


class _Record(NamedTuple):
    """A value with its times; ``replaced`` counts the bad ones that were replaced in a row."""

    value: str
    ends: float
    renew_at: float
    fetched_at: float
    replaced: int = 0


class State(NamedTuple):
    """When a value was fetched, is to be renewed and ends, 0.0 without one; and why a fetch failed just now, or ""."""

    fetched_at: float = 0.0
    renew_at: float = 0.0
    ends: float = 0.0
    failure: str = ""


class Kept:
    """One such value, under ``name`` in the cache; ``fetch`` asks WeChat for it and raises ApiError."""

    def __init__(self, cache: Cache, name: str, fetch: Fetch, fetch_seconds: int = _FETCH_SECONDS) -> None:
        self._cache = cache
        self._fetch_seconds = fetch_seconds
        self._name = name
        self._fetch = fetch
        # For a cache that is down:
        self._memo: _Record | None = None
        self._failure: tuple[float, ApiError] | None = None
        self._lock = threading.Lock()
        self._renewing = False

    def get(self) -> str:
        """Return the value: the one that is there, else a new one. Raises ApiError."""
        record = self._read()
        if record is None:
            return self._fetched(None).value
        if time.time() >= record.renew_at:
            self._renew(record)
        return record.value

    def standing(self) -> str | None:
        """Return the value that is there, without asking for another."""
        return record.value if (record := self._read()) else None

    def state(self) -> State:
        """Return how the value is, without the value and without asking for it."""
        record, failed = self._read(), self._failed()
        failure = str(failed or "")
        return State(record.fetched_at, record.renew_at, record.ends, failure) if record else State(failure=failure)

    def replace(self, bad: str) -> str | None:
        """Return a value to use in place of ``bad``: what somebody else put there meanwhile, else a new one.

        None where ``bad`` itself has just replaced another: then a new one would be bad, too. Raises ApiError.
        """
        record = self._read()
        if record is not None and record.value != bad:
            return record.value
        if record is not None and record.replaced:
            pause = min(_REPLACE_SECONDS * 2.0 ** (record.replaced - 1), _LONGEST_REPLACE_SECONDS)
            if time.time() - record.fetched_at < pause:
                return None
        return self._fetched(record or _Record(bad, 0, 0, 0)).value

    def _renew(self, record: _Record) -> None:
        """Let one thread of all processes fetch a new value, while the old one is used."""
        with self._lock:
            if self._renewing:
                return
            self._renewing = True
        if (mine := self._claim()) is None:
            self._renewing = False
            return

        def renew() -> None:
            try:
                if (current := self._read()) is None or current == record:
                    self._ask(None)
            except ApiError as error:
                logger.warning("%s is not renewed yet, and used until its end: %s", self._name, error)
                if self._read() == record:
                    self._write(record._replace(renew_at=time.time() + _FAILED_SECONDS))
            finally:
                self._renewing = False
                self._release(mine)

        try:
            threading.Thread(target=renew, name=f"renew {self._name}", daemon=True).start()
        except RuntimeError:  # no thread to be had: the old one is good for a while yet
            self._renewing = False
            self._release(mine)

    def _fetched(self, bad: _Record | None) -> _Record:
        """Fetch the value, or wait for the thread of this or another process that does."""
        give_up = time.monotonic() + self._fetch_seconds
        while time.monotonic() < give_up:
            with self._lock:  # one thread of a process looks for all
                record = self._read()
                if record is not None and (bad is None or record.value != bad.value):
                    return record
                self._raise_failure()
                if (mine := self._claim()) is not None:
                    try:
                        # Somebody may have ended between the look and the claim.
                        record = self._read()
                        if record is not None and (bad is None or record.value != bad.value):
                            return record
                        return self._ask(bad)
                    finally:
                        self._release(mine)
            time.sleep(_POLL_SECONDS)
        raise ApiError(None, f"{self._name}: nobody has fetched it within {self._fetch_seconds} s")

    def _ask(self, bad: _Record | None) -> _Record:
        replaced = 0
        if bad is not None:
            replaced = bad.replaced + 1 if time.time() - bad.fetched_at < 2 * _LONGEST_REPLACE_SECONDS else 1
        try:
            value, seconds = self._counted(False)
            if bad is not None and value == bad.value:
                value, seconds = self._forced(value, seconds)
        except ApiError as error:
            self._failure = time.monotonic() + _FAILED_SECONDS, error
            self._cache.set(self._key("failed"), to_json([error.errcode, error.errmsg, error.rid]), _FAILED_SECONDS)
            raise
        now = time.time()
        record = _Record(value, now + seconds, now + max(seconds - _RENEW_SECONDS, seconds / 2), now, replaced)
        self._write(record)
        return record

    def _counted(self, force: bool) -> tuple[str, float]:
        kind = self._name.partition(":")[0]
        try:
            fetched = self._fetch(force)
        except ApiError:
            metrics.TOKEN_FETCHES.labels(kind, "failed").inc()
            raise
        metrics.TOKEN_FETCHES.labels(kind, "forced" if force else "ok").inc()
        return fetched

    def _raise_failure(self) -> None:
        """Fail as the fetch failed that somebody else has just made: all who wait must not ask one after another."""
        if failed := self._failed():
            raise failed
        if self._failure and time.monotonic() < self._failure[0]:
            raise ApiError(*self._failure[1].args)

    def _failed(self) -> ApiError | None:
        found = understood(self._cache.get(self._key("failed")), _is_failure)
        return ApiError(*found) if found else None

    def _forced(self, value: str, seconds: float) -> tuple[str, float]:
        """Return a value fetched by force, or what is there where that was done not long ago, or nobody knows."""
        key = self._key("forced")
        if not self._cache.add(key, "true", _FORCE_APART_SECONDS):
            return value, seconds
        try:
            return self._counted(True)
        except ApiError:
            self._cache.delete(key)
            raise

    def _read(self) -> _Record | None:
        kept = self._cache.get(self._key("value"))
        found = understood(kept, lambda record: isinstance(record[0], str) and is_numbers(*_Record(*record)[1:]))
        record = _Record(*found) if found else self._memo
        if record is None or time.time() >= record.ends:
            return None
        return record

    def _write(self, record: _Record) -> None:
        self._memo = None
        if not self._cache.set(self._key("value"), to_json(record), max(int(record.ends - time.time()) + 1, 1)):
            # Each process has its own then; a token of another that was replaced must not live here for long.
            self._memo = record._replace(ends=min(record.ends, time.time() + _UNCACHED_SECONDS))

    def _claim(self) -> str | None:
        mine = to_json(f"{os.getpid()} {secrets.token_hex(6)}")
        return mine if self._cache.claim(self._key("fetching"), mine, self._fetch_seconds) == mine else None

    def _release(self, mine: str) -> None:
        if self._cache.get(self._key("fetching")) == mine:
            self._cache.delete(self._key("fetching"))

    def _key(self, part: str) -> str:
        return self._cache.key("api", self._name, part)


def _is_failure(value: Any) -> bool:
    errcode, errmsg, rid = value
    return isinstance(errcode, int | None) and isinstance(errmsg, str) and isinstance(rid, str)
