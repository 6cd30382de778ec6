"""What a process leaves behind that dies with the last delivery of a message, or after it: another one ends it.

What the cache holds for that:

    process all          the names of all processes, each of which puts itself there
    process NAME wards   the keys of messages whose handlers run in NAME, with one delivery left at most
    KEY:ward             the fields of such a message, signed: who writes to the cache must not make up messages
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from itsdangerous import BadSignature, Signer

from app.cache import Cache, to_json
from app.callback.watch import FORKS, Sightings, Watch

Fields = dict[str, Any]
_LOOK_SECONDS = 1.0
# Nobody waits for it; a process that only found no cache for a while must not be taken for dead.
_LOOKS_WITHOUT_BEAT = 6
_LOOKS_UNTIL_SAID_AGAIN = 20
_KEEP_SECONDS = 3600
logger = logging.getLogger("wechat")


class Wards:
    """Says which messages would be orphans, and adopts those of a process that has died.

    ``unawaited()`` returns the fields of this process's own ones by their key; ``adopt(key, fields)`` brings one of
    another's to its end, in a thread of its own. The first of ``secrets`` signs, and all of them are known.
    """

    def __init__(
        self,
        cache: Cache,
        watch: Watch,
        secrets: Sequence[str],
        unawaited: Callable[[], Mapping[str, Fields]],
        adopt: Callable[[str, Fields], object],
    ) -> None:
        self._cache = cache
        self._watch = watch
        self._secrets = list(reversed(secrets))
        self._unawaited = unawaited
        self._adopt = adopt
        self._adopting: dict[str, Fields] = {}
        self._others: list[str] = []
        self._said: set[str] = set()
        self._looks = 0
        self._sightings = Sightings(_LOOKS_WITHOUT_BEAT if cache.shared else 0)
        self._lock = threading.Lock()
        self._started_after = -1

    def start(self) -> None:
        """Look after them from now on, in this process; no matter how often it is called."""
        if self._started_after == FORKS.count or not (self._cache.shared or "uwsgi" in sys.modules):
            return
        with self._lock:
            if self._started_after != FORKS.count:
                try:
                    threading.Thread(target=self._loop, name="wards", daemon=True).start()
                    self._started_after = FORKS.count
                except RuntimeError as error:  # the next message tries again
                    logger.error("%s: TasksMax or the memory is too small for the threads", error)

    def _loop(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            try:
                self.look()
            except Exception:  # whatever stands in the cache: who stops looking loses the late answers of others
                logger.exception("messages of dead processes cannot be looked after")

    def look(self) -> None:
        """Publish this process's own, and take over those of processes that have died."""
        self._publish()
        found = self._cache.get_many(self._names_key(), *map(self._watch.beat_key, self._others))
        if found is None:  # a cache that is down, by which nobody is judged
            self._sightings.clear()
            return
        names, me = json.loads(found[0] or "[]"), self._watch.me()
        dead = self._sightings.dead(dict(zip(self._others, found[1:], strict=True)))
        self._others = [name for name in names if name not in (me, *dead)]
        if dead:
            self._take_over(dead)
        if dead or me not in names:  # where two write at once, who is left out comes back at the next look
            left = sorted({*names, me} - set(dead))
            self._cache.set(self._names_key(), to_json(left), _KEEP_SECONDS)

    def _publish(self) -> None:
        mine = {**self._adopting, **self._unawaited()}
        self._looks += 1
        says_again = self._looks % _LOOKS_UNTIL_SAID_AGAIN == 0  # a cache may have lost it
        if mine.keys() == self._said and not (mine and says_again):
            return
        for key in self._said - mine.keys():
            self._cache.delete(f"{key}:ward")
        new = mine.keys() if says_again else mine.keys() - self._said
        is_kept = [self._cache.set(f"{key}:ward", self._signed(key, mine[key]), _KEEP_SECONDS) for key in new]
        is_kept.append(self._cache.set(self._wards_key(self._watch.me()), to_json(sorted(mine)), _KEEP_SECONDS))
        if all(is_kept):
            self._said = set(mine)

    def _take_over(self, dead: list[str]) -> None:
        found: dict[str, Fields] = {}
        for key in {key for name in dead for key in json.loads(self._cache.get(self._wards_key(name)) or "[]")}:
            fields = self._fields(key)
            if fields is not None and key not in self._adopting:
                found[key] = fields
        self._adopting.update(found)
        self._publish()  # first: this process may die of one of them
        for name in dead:
            self._cache.delete(self._wards_key(name))
        for key, fields in found.items():
            try:  # not a daemon, so that a graceful stop waits for it
                threading.Thread(target=self._bring_up, args=(key, fields), name="ward", daemon=False).start()
            except RuntimeError as error:
                logger.error("a late answer is lost: %s", error)
                self._adopting.pop(key)

    def _bring_up(self, key: str, fields: Fields) -> None:
        try:
            self._adopt(key, fields)
        finally:
            self._adopting.pop(key, None)

    def _signed(self, key: str, fields: Fields) -> str:
        return Signer(self._secrets, salt=key).sign(to_json(fields).encode()).decode()

    def _fields(self, key: str) -> Fields | None:
        ward = self._cache.get(f"{key}:ward")
        try:
            fields: Fields | None = json.loads(Signer(self._secrets, salt=key).unsign(ward.encode())) if ward else None
        except BadSignature:
            logger.error("a late message is not taken over: no token of this account has signed what the cache holds")
            return None
        return fields

    def _names_key(self) -> str:
        return self._cache.key("process", "all")

    def _wards_key(self, name: str) -> str:
        return self._cache.key("process", name, "wards")
