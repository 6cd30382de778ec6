"""The shared cache: what deliveries, signatures and sessions are remembered in. Text inside, never pickle."""

import hashlib
from typing import Any
from urllib.parse import urlsplit

from cachelib.base import BaseCache
from cachelib.serializers import BaseSerializer
from cachelib.simple import SimpleCache
from cachelib.uwsgi import UWSGICache

from app.errors import ConfigError

_MEMORY_ITEMS = 100_000
_PROBE_SECONDS = 60
_KEY_CHARACTERS = 80


class _TextSerializer(BaseSerializer):
    """Text in UTF-8. Whoever can write to the cache can change an answer, but cannot run code."""

    def dumps(self, value: str, *_: Any) -> bytes:
        return value.encode()

    def loads(self, bvalue: bytes) -> str:
        return bvalue.decode()


class _UwsgiCache(UWSGICache):
    """cachelib's, with nothing between the text and uWSGI: each message asks it five times."""

    def get(self, key: str) -> str | None:
        value = self._uwsgi.cache_get(key, self.cache)
        return None if value is None else value.decode()

    def add(self, key: str, value: str, timeout: int) -> bool:
        return bool(self._uwsgi.cache_set(key, value.encode(), timeout, self.cache))

    def set(self, key: str, value: str, timeout: int) -> bool:
        return bool(self._uwsgi.cache_update(key, value.encode(), timeout, self.cache))


class _MemoryCache(SimpleCache):
    serializer = _TextSerializer()

    def _remove_older(self) -> None:
        # One at a time, as cachelib does, sorts all of them for each new one.
        for key in list(self._cache)[: self._threshold // 10]:
            del self._cache[key]


class Cache:
    """A backend of cachelib for text, with the account in every key.

    ``add`` stores only where nothing stands and returns whether it did; it is the one atomic step across processes.
    """

    def __init__(self, backend: BaseCache, appid: str) -> None:
        self._appid = appid
        self.get = backend.get
        self.add = backend.add
        self.set = backend.set
        self.delete = backend.delete

    def key(self, kind: str, *parts: str) -> str:
        """Return a key of bounded length, whatever the sender put into ``parts``."""
        name = ":".join(parts)
        if len(name) > _KEY_CHARACTERS or not name.isascii():
            name = hashlib.sha256(name.encode()).hexdigest()
        return f"{self._appid}:{kind}:{name}"


def connect(url: str, appid: str) -> Cache:
    """Open the cache that ``url`` names: ``uwsgi://NAME`` or ``memory://``.

    Raises ConfigError when uWSGI has no cache of that name.
    """
    name = urlsplit(url).netloc
    if not url.startswith("uwsgi:"):
        return Cache(_MemoryCache(threshold=_MEMORY_ITEMS), appid)
    try:
        backend = _UwsgiCache(cache=name)
    except RuntimeError as error:
        raise ConfigError(f"WECHAT_CACHE_URL={url} works under uWSGI only; expected memory:// elsewhere") from error
    cache = Cache(backend, appid)
    if not cache.set(cache.key("probe"), "1", _PROBE_SECONDS):
        raise ConfigError(f"WECHAT_CACHE_URL={url}: uWSGI has no cache {name!r}; expected cache2 = name={name},...")
    return cache
