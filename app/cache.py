"""The shared cache: what deliveries, signatures, sessions and late answers are remembered in. JSON, never pickle."""

import hashlib
import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from app import metrics
from app.backends import Opened, open_memcached, open_memory, open_redis, open_uwsgi
from app.errors import ConfigError

_PROBE_SECONDS = 60
_PLAIN_KEY = re.compile(r"[\w.:@=-]{1,48}", re.ASCII).fullmatch
_PAUSE_SECONDS = 1.0
_COMPLAINT_CHARACTERS = 300
_URL_EXPECTED = "a port up to 65535, options that redis-py has, and in a password %23 for #, %2F for / and %3F for ?"
logger = logging.getLogger("wechat.cache")

to_json: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Return a value's JSON, as the cache holds it. Made once: json.dumps makes an encoder for each call."""


def understood(text: str | None, is_ours: Callable[[Any], bool]) -> Any:
    """Return the JSON ``text`` that stands in the cache; None for nothing, and for what no process of ours has written.

    ``is_ours`` may raise whatever a value of another shape makes it raise.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
        if is_ours(value):
            return value
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        pass
    metrics.CACHE_ERRORS.labels("refused").inc()
    logger.error("something stands in the cache that was not written here; it is taken for nothing")
    return None


def is_numbers(*values: Any) -> bool:
    """Tell whether all are numbers that can be counted with."""
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


class Cache:
    """A backend of cachelib for JSON text, with the account in every key.

    ``add`` stores only where nothing stands and returns whether it did; it is the one atomic step across processes.
    A cache that fails costs what it remembers, never an answer: nothing stands in it then, and it takes nothing.
    ``shared`` tells whether another process can be in it. ``fans`` has a room of its own, where the backend can have
    two: for what fans and visitors can multiply. Full, it costs none of what "one answer per message" hangs on.
    """

    def __init__(self, opened: Opened, appid: str, *, shared: bool = True, fans: "Cache | None" = None) -> None:
        self._backend, self._failures, refusals, _ = opened
        self.fans = fans or self
        self._refusals: tuple[type[Exception], ...] = (*refusals, UnicodeDecodeError)  # what stands there is not ours
        self._appid = appid
        self._failing = False
        self._paused_until = self._silent_until = 0.0
        self.shared = shared
        self.get: Callable[[str], str | None] = self._guarded(self._backend.get, None)
        self.get_many: Callable[..., Sequence[str | None] | None] = self._guarded(self._backend.get_many, None)
        self.add: Callable[[str, str, int], bool] = self._guarded(self._backend.add, False)
        self.delete: Callable[[str], bool] = self._guarded(self._backend.delete, False)
        self._set: Callable[[str, str, int], Any] = self._guarded(self._backend.set, None)

    def key(self, kind: str, *parts: str) -> str:
        """Return a key of bounded length, whatever the sender put into ``parts``."""
        name = ":".join(parts)
        if not _PLAIN_KEY(name):
            name = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        return f"{self._appid}:{kind}:{name}"

    def claim(self, key: str, value: str, seconds: int) -> str:
        """Store ``value`` where nothing stands, and return what stands there now.

        A cache that is full or down returns ``value`` too: nobody else has claimed it, as far as can be known.
        """
        for _ in range(2):  # what stood in the way may have expired before it could be read
            if self.add(key, value, seconds):
                return value
            if (standing := self.get(key)) is not None:
                return standing
        if not self._failing:  # that has been said
            self._complain("full", "it takes nothing: full?")
        return value

    def answers(self) -> bool:
        """Tell whether something can be put in, and found again."""
        key = self.key("probe", "ready")
        return self.set(key, "true", _PROBE_SECONDS) and self.get(key) is not None

    def fills(self) -> dict[str, float]:
        """Return how full each room is, from 0 to 1; one is missing where that is not known."""
        rooms = {"messages": self, "fans": self.fans}
        fills = {name: room._guarded(room._backend.fill, None)() for name, room in rooms.items()}
        return {name: fill for name, fill in fills.items() if fill is not None}

    def set(self, key: str, value: str, seconds: int) -> bool:
        """Store ``value`` and return whether it could be done."""
        if self._set(key, value, seconds):
            return True
        if not self._failing:
            self._complain("full", f"it does not take {len(value)} characters: full?")
        return False

    def _complain(self, reason: str, what: str) -> None:
        metrics.CACHE_ERRORS.labels(reason).inc()
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + 1
            logger.error("the cache fails, and messages may be handled twice: %s", what[:_COMPLAINT_CHARACTERS])

    def _guarded(self, call: Callable[..., Any], otherwise: Any) -> Callable[..., Any]:
        """Let ``call`` return ``otherwise`` where it fails, and for a second after that without asking."""
        if not self._failures:
            return call

        def guarded(*args: Any) -> Any:
            tries_again = self._failing
            if tries_again:
                if time.monotonic() < self._paused_until:
                    return otherwise
                self._paused_until = time.monotonic() + _PAUSE_SECONDS  # one tries, the others do not wait with it
            try:
                value = call(*args)
            except self._refusals as error:
                self._complain("refused", f"{type(error).__name__}: {error}")
                value = otherwise
            except self._failures as error:
                self._failing, self._paused_until = True, time.monotonic() + _PAUSE_SECONDS
                self._complain("down", f"{type(error).__name__}: {error}")
                return otherwise
            if tries_again:  # not one that was under way when another failed
                self._failing = False
                logger.warning("the cache is back")
            return value

        return guarded


def connect(url: str, appid: str) -> Cache:
    """Open the cache that ``url`` names; a server that cannot be reached now is used as soon as it can.

    Raises ConfigError when uWSGI has no cache of that name, or when the server refuses the password.
    """
    scheme = url.partition(":")[0]
    if scheme == "memory":
        return Cache(open_memory(), appid, shared=False, fans=Cache(open_memory(), appid, shared=False))
    if scheme == "uwsgi":
        return _connect_uwsgi(url, appid)
    try:
        opened = open_memcached(url) if scheme == "memcached" else open_redis(url)
    except (ValueError, TypeError):  # not from it: it may quote a part of the password
        raise ConfigError(f"WECHAT_CACHE_URL cannot be used; expected {_URL_EXPECTED}") from None
    cache = Cache(opened, appid)
    try:
        opened.backend.get(cache.key("probe", "start"))  # not PING, which Redis refuses when its disk is full
    except TypeError:  # redis-py looks at a URL's options when it connects
        raise ConfigError(f"WECHAT_CACHE_URL cannot be used; expected {_URL_EXPECTED}") from None
    except opened.denials as error:
        raise ConfigError(f"WECHAT_CACHE_URL: Redis refuses it: {error}") from error
    except (*opened.failures, *opened.refusals) as error:
        cache._complain("down", f"it cannot be reached, and is tried again: {type(error).__name__}: {error}")
    return cache


def _connect_uwsgi(url: str, appid: str) -> Cache:
    name = urlsplit(url).netloc
    try:
        opened = open_uwsgi(name)
    except RuntimeError as error:
        raise ConfigError(f"WECHAT_CACHE_URL={url} works under uWSGI only; expected memory:// elsewhere") from error
    is_shared, of_fans = sys.modules["uwsgi"].numproc > 1, open_uwsgi(f"{name}-fans")
    fans = Cache(of_fans, appid, shared=is_shared)
    cache = Cache(opened, appid, shared=is_shared, fans=fans if _takes(of_fans, fans) else None)
    if not _takes(opened, cache):
        raise ConfigError(f"WECHAT_CACHE_URL={url}: uWSGI has no cache {name!r}; expected cache2 = name={name},...")
    if cache.fans is cache:
        logger.warning("sessions share the room of claims and answers: uWSGI has no cache2 = name=%s-fans,...", name)
    return cache


def _takes(opened: Opened, cache: Cache) -> bool:
    """Tell whether uWSGI has this cache; one that is full takes what is there already, or is known by its items."""
    return bool(opened.backend.set(cache.key("probe", "start"), "1", _PROBE_SECONDS)) or opened.backend.num() > 0
