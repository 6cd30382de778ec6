"""The cache: does it answer, and is it the same for all who need it?"""

import os
import secrets
import time
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from app.backends import Opened, open_memcached, open_redis
from app.config import Settings
from app.doctor.finding import Finding, Findings, ok, warning, wrong
from app.near import is_this_machine

# A message asks it some six times, one after another.
_SLOW_SECONDS = 0.02
NEARLY_FULL = 0.8
_START_IT = "start it, or correct WECHAT_CACHE_URL: meanwhile messages may be handled twice, and late answers are lost"


def check_cache(settings: Settings, machines: int) -> Findings:
    """Yield what the cache is; ``machines`` is to how many nginx passes this account's messages."""
    scheme = settings.cache_url.partition(":")[0]
    if scheme in ("memory", "uwsgi"):
        yield _of_one_machine(machines)
        return
    opened = open_memcached(settings.cache_url) if scheme == "memcached" else open_redis(settings.cache_url)
    with closing(opened.backend):
        yield from _of_a_server("memcached" if scheme == "memcached" else "Redis", opened, settings.account)
    if machines > 1 and _is_local(settings.cache_url):
        found = f"it is on this machine, and nginx passes messages to {machines}: each may have its own"
        yield warning("cache", found, "name one cache that all machines reach in WECHAT_CACHE_URL")


def _of_a_server(name: str, opened: Opened, account: str) -> Findings:
    try:
        yield _answering(name, opened, f"{account}:doctor:{os.getpid()}")
        if name == "Redis":
            yield from _redis(opened)
    except opened.refusals as error:
        yield wrong("cache", f"{name} refuses: {type(error).__name__}: {error}", _START_IT)
    except opened.failures as error:
        yield wrong("cache", f"{name} does not answer: {type(error).__name__}: {error}", _START_IT)


def _of_one_machine(machines: int) -> Finding:
    found = "uWSGI's own, shared by the workers of this machine (without uWSGI: one process's memory)"
    if machines == 1:
        return ok("cache", found)
    found = f"the cache is of one machine, and nginx passes messages to {machines}: some are handled twice"
    return wrong("cache", found, "set WECHAT_CACHE_URL=redis://… on all of them, to the same Redis")


def _answering(name: str, opened: Opened, key: str) -> Finding:
    value = secrets.token_hex(8)
    started = time.monotonic()
    is_kept = opened.backend.set(key, value, 60) and opened.backend.get(key) == value
    opened.backend.delete(key)
    seconds = (time.monotonic() - started) / 3
    if not is_kept:
        return wrong("cache", f"{name} does not keep what it is given", _START_IT)
    if seconds > _SLOW_SECONDS:
        todo = "put it nearer: each message asks it several times"
        return warning("cache", f"{name} takes {seconds * 1000:.0f} ms to answer", todo)
    return ok("cache", f"{name} answers in {seconds * 1000:.1f} ms; all workers and machines share it")


def _redis(opened: Opened) -> Findings:
    try:
        told: dict[str, Any] = opened.backend.info()
    except opened.refusals as error:  # some that are rented do not tell
        yield ok("Redis memory", f"Redis does not tell: {error}")
        return
    policy, most = str(told.get("maxmemory_policy")), int(told.get("maxmemory", 0))
    used = int(told.get("used_memory", 0))
    if most and policy == "noeviction" and used >= NEARLY_FULL * most:
        found = f"Redis is {used / most:.0%} full: {used >> 20} of {most >> 20} MB"
        yield warning("Redis memory", found, "a larger maxmemory: a full one takes neither claims nor sessions")
    elif most and policy != "noeviction":
        found = f"full, it throws away what is still needed: maxmemory-policy {policy}"
        yield warning("Redis memory", found, "set maxmemory-policy noeviction; everything in it ends by itself")
    else:
        limit = f"up to {most >> 20} MB" if most else "without a limit"
        yield ok("Redis memory", f"{used >> 20} MB, {limit}, {policy}")
    if not int(told.get("aof_enabled", 0)):
        found = "no AOF: a restart forgets which messages were answered, and the late answers that wait"
        yield ok("Redis persistence", f"{found}; where that matters: appendonly yes")
    if told.get("rdb_last_bgsave_status", "ok") != "ok" or told.get("aof_last_write_status", "ok") != "ok":
        todo = "make room on its disk: Redis refuses to write after this"
        yield wrong("Redis persistence", "Redis cannot write to its disk", todo)


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "unix" or ("," not in parts.netloc and is_this_machine(parts.hostname or "localhost"))
