"""What the cache is made of: cachelib's backends for uWSGI, memory and Redis, and one for memcached, all for text."""

import json
import random
import socket
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cachelib.base import BaseCache
from cachelib.redis import RedisCache
from cachelib.serializers import BaseSerializer
from cachelib.simple import SimpleCache
from cachelib.uwsgi import UWSGICache

# A message has 5 seconds in all: a server that says nothing for so long is not waited for.
_TIMEOUT_SECONDS = 0.5
_MOST_CONNECTIONS = 5000  # never fewer than threads: each may wait for a Redis that hangs
_MEMORY_ITEMS = 50_000  # of each of two
_SAMPLE = 200


class Opened(NamedTuple):
    """A backend, and what it raises: ``failures`` when it cannot be asked, ``refusals`` when it says no.

    ``denials`` are the refusals that no time heals.
    """

    backend: BaseCache
    failures: tuple[type[Exception], ...] = ()
    refusals: tuple[type[Exception], ...] = ()
    denials: tuple[type[Exception], ...] = ()


class _TextSerializer(BaseSerializer):
    """Text, which is JSON. Whoever can write to the cache can change an answer, but cannot run code."""

    def dumps(self, value: str, *_: Any) -> bytes:
        return value.encode()

    def loads(self, bvalue: bytes | None) -> str | None:
        return None if bvalue is None else bvalue.decode()


class _UwsgiCache(UWSGICache):
    """cachelib's, with nothing between the text and uWSGI: each message asks it five times."""

    _of_ini: dict[str, int] | None = None

    def get(self, key: str) -> str | None:
        value = self._uwsgi.cache_get(key, self.cache)
        return None if value is None else value.decode()

    def add(self, key: str, value: str, timeout: int) -> bool:
        return bool(self._uwsgi.cache_set(key, value.encode(), timeout, self.cache))

    def set(self, key: str, value: str, timeout: int) -> bool:
        return bool(self._uwsgi.cache_update(key, value.encode(), timeout, self.cache))

    def num(self) -> int:
        """Return how many items there are, 0 where there is no such cache."""
        return int(self._uwsgi.cache_num(self.cache) or 0)

    def fill(self) -> float | None:
        """Return how full it is: by its items, or its blocks, by a sample of them; None where uWSGI does not say."""
        if (size := self._size()) is None:
            return None
        keys = self._uwsgi.cache_keys(self.cache) or []
        sample = random.sample(keys, min(len(keys), _SAMPLE))
        values = [value for key in sample if (value := self._uwsgi.cache_get(key, self.cache)) is not None]
        blocks = sum(-(-len(value) // size["blocksize"]) for value in values) / max(len(values), 1)
        items, room = size["max_items"] - 1, size["blocks"]  # the first item is uWSGI's own
        return max(len(keys) / items, len(keys) * blocks / room)

    def _size(self) -> dict[str, int] | None:
        """Return what the ini gave it, as uWSGI's figures say: of two options of one name, uwsgi.opt has the last."""
        if self._of_ini is None and (stats := self._uwsgi.opt.get("stats")):
            with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as asked, asked.makefile() as answer:
                asked.settimeout(_TIMEOUT_SECONDS)
                asked.connect(stats)
                self._of_ini = next((one for one in json.load(answer)["caches"] if one["name"] == self.cache), None)
        return self._of_ini


class _MemoryCache(SimpleCache):
    """cachelib's, with text."""

    serializer = _TextSerializer()

    def fill(self) -> float:
        """Return how full it is."""
        return len(self._cache) / _MEMORY_ITEMS

    def _remove_older(self) -> None:
        # One at a time, as cachelib does, sorts all of them for each new one.
        for key in list(self._cache)[: self._threshold // 10]:
            self._cache.pop(key, None)


class _RedisTextCache(RedisCache):
    """cachelib's, with text."""

    serializer = _TextSerializer()

    def add(self, key: str, value: str, timeout: int) -> bool:
        # One command: after SETNX and before EXPIRE, a process that dies would leave a key for ever.
        return bool(self._write_client.set(key, value.encode(), ex=timeout, nx=True))

    def fill(self) -> float | None:
        """Return how full Redis is, None where it has no limit or does not tell."""
        try:
            said = self._write_client.info("memory")
        except import_module("redis").ResponseError:  # not for this user of it
            return None
        most = int(said.get("maxmemory", 0))
        return int(said["used_memory"]) / most if most else None

    def info(self) -> dict[str, Any]:
        """Return what Redis tells of itself."""
        return dict(self._write_client.info())

    def close(self) -> None:
        """Close its connections."""
        self._write_client.close()


class _MemcachedCache(BaseCache):
    """Not cachelib's own, which takes no Chinese from pymemcache."""

    def __init__(self, client: Any, closed: tuple[type[Exception], ...]) -> None:
        super().__init__()
        self._client = client
        self._closed = closed

    def get(self, key: str) -> str | None:
        value = self._ask("get", key)
        return None if value is None else value.decode()

    def get_many(self, *keys: str) -> list[str | None]:
        found = self._ask("get_many", keys)
        return [found[key].decode() if key in found else None for key in keys]

    def add(self, key: str, value: str, timeout: int) -> bool:
        return bool(self._ask("add", key, value.encode(), timeout))

    def set(self, key: str, value: str, timeout: int) -> bool:
        return bool(self._ask("set", key, value.encode(), timeout))

    def delete(self, key: str) -> bool:
        return bool(self._ask("delete", key))

    def fill(self) -> float | None:
        """Return how full memcached is."""
        said = self._ask("stats")
        return int(said[b"bytes"]) / int(said[b"limit_maxbytes"])

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _ask(self, command: str, *args: Any) -> Any:
        for _ in range(len(self._client.client_pool.free)):  # each may be one that a restart of the server has closed
            with suppress(*self._closed):
                return getattr(self._client, command)(*args)
        try:
            return getattr(self._client, command)(*args)
        except self._closed as error:
            raise ConnectionError(str(error)) from error


def open_memory() -> Opened:
    """Open a cache of this process alone."""
    return Opened(_MemoryCache(threshold=_MEMORY_ITEMS))


def open_uwsgi(name: str) -> Opened:
    """Open uWSGI's cache ``name``; raises RuntimeError where there is no uWSGI."""
    return Opened(_UwsgiCache(cache=name))


def open_redis(url: str) -> Opened:
    """Open ``redis://``, ``rediss://``, ``unix://`` or a Sentinel's URL; a wrong one raises ValueError or TypeError."""
    # Loaded where it is used: it takes 15 MB a process.
    redis, retry = import_module("redis"), import_module("redis.retry")
    # Once more where the connection broke in the middle; a Redis that says nothing is not asked twice.
    again = retry.Retry(import_module("redis.backoff").NoBackoff(), 1, (redis.ConnectionError,))
    options = {"socket_timeout": _TIMEOUT_SECONDS, "socket_connect_timeout": _TIMEOUT_SECONDS, "retry": again}
    options["max_connections"] = _MOST_CONNECTIONS
    client = _sentinel(url, options) if "+sentinel:" in url else redis.from_url(url, **options)
    denials = (redis.AuthenticationError, redis.ResponseError)
    return Opened(_RedisTextCache(client), (redis.RedisError, OSError), (redis.ResponseError,), denials)


def _sentinel(url: str, options: dict[str, Any]) -> Any:
    """Return a client for ``redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE[/DATABASE]``.

    Where the sentinels want a password themselves: ``?sentinel_password=PASSWORD`` (and ``sentinel_username``).
    """
    parts = urlsplit(url)
    account, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    of_one = parts._replace(scheme=parts.scheme.partition("+")[0], netloc=f"{account}@_", path=f"/{database}").geturl()
    given = options | import_module("redis.connection").parse_url(of_one)
    given["ssl"] = "connection_class" in given
    for name in ("host", "connection_class"):
        given.pop(name, None)
    own = {name: given.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    # Asked as Redis is: without these options, sentinels that are down would hold a message for 15 seconds.
    asked = {name: value for name, value in given.items() if name != "db"} | own
    sentinels = [_host_and_port(host, 26379) for host in hosts.split(",")]
    return import_module("redis.sentinel").Sentinel(sentinels, sentinel_kwargs=asked).master_for(service, **given)


def open_memcached(url: str) -> Opened:
    """Open ``memcached://HOST[:PORT]``. Raises ValueError for a wrong one."""
    pymemcache, errors = import_module("pymemcache"), import_module("pymemcache.exceptions")
    client = pymemcache.PooledClient(
        _host_and_port(urlsplit(url).netloc, 11211),
        connect_timeout=_TIMEOUT_SECONDS,
        timeout=_TIMEOUT_SECONDS,
        no_delay=True,
        default_noreply=False,  # a claim that nobody confirms is no claim
    )
    backend = _MemcachedCache(client, (ConnectionError, errors.MemcacheUnexpectedCloseError))
    return Opened(backend, (OSError,), (errors.MemcacheError,))


def _host_and_port(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or port
