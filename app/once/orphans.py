"""Take over messages whose process died after WeChat's last retry, or with it."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from itsdangerous import BadSignature, Signer

from app.cache import Cache, to_json
from app.once.liveness import Deaths, Heartbeat

Fields = dict[str, Any]
LOOK_SECONDS = 1.0
# Nobody waits for it; a process that only found no cache for a while must not be taken for dead.
_LOOKS_WITHOUT_BEAT = 6
_LOOKS_UNTIL_SAID_AGAIN = 20
_KEEP_SECONDS = 3600
logger = logging.getLogger("wechat")


class Orphans:
    """Says in the cache which messages would be orphans, and adopts those of a process that has died.

    ``unawaited()`` returns the fields of this process's own ones by their key; ``adopt(key, fields)`` makes one of
    another's this process's own. The first of ``secrets`` signs, and all of them are known.
    """

    def __init__(
        self,
        cache: Cache,
        heartbeat: Heartbeat,
        secrets: Sequence[str],
        unawaited: Callable[[], Mapping[str, Fields]],
        adopt: Callable[[str, Fields], object],
    ) -> None:
        self._cache = cache
        self._heartbeat = heartbeat
        self._secrets = list(reversed(secrets))
        self._unawaited = unawaited
        self._adopt = adopt
        self._others: list[str] = []
        self._said: set[str] = set()
        self._looks = 0
        self._deaths = Deaths(_LOOKS_WITHOUT_BEAT if cache.shared else 0)

    def look(self) -> None:
        """Publish this process's own, and take over those of processes that have died. Once a second."""
        self.publish()
        found = self._cache.get_many(self._names_key(), *map(self._heartbeat.key_of, self._others))
        if found is None:  # a cache that is down, by which nobody is judged
            self._deaths.clear()
            return
        names, me = json.loads(found[0] or "[]"), self._heartbeat.name
        dead = self._deaths.dead(dict(zip(self._others, found[1:], strict=True)))
        self._others = [name for name in names if name not in (me, *dead)]
        if dead:
            self._take_over(dead)
        if dead or me not in names:  # where two write at once, who is left out comes back at the next look
            left = sorted({*names, me} - set(dead))
            self._cache.set(self._names_key(), to_json(left), _KEEP_SECONDS)

    def publish(self) -> None:
        """Say which messages would be orphans if this process died now."""
        mine = self._unawaited()
        self._looks += 1
        says_again = self._looks % _LOOKS_UNTIL_SAID_AGAIN == 0  # a cache may have lost it
        if mine.keys() == self._said and not (mine and says_again):
            return
        for key in self._said - mine.keys():
            self._cache.delete(f"{key}:orphan")
        new = mine.keys() if says_again else mine.keys() - self._said
        is_kept = [self._cache.set(f"{key}:orphan", self._signed(key, mine[key]), _KEEP_SECONDS) for key in new]
        is_kept.append(self._cache.set(self._orphans_key(self._heartbeat.name), to_json(sorted(mine)), _KEEP_SECONDS))
        if all(is_kept):
            self._said = set(mine)

    def has_others(self) -> bool:
        """Tell whether another process lives that could take over."""
        return bool(self._others)

    def _take_over(self, dead: list[str]) -> None:
        for key in {key for name in dead for key in json.loads(self._cache.get(self._orphans_key(name)) or "[]")}:
            fields = self._fields(key)
            if fields is not None:
                self._try_to_adopt(key, fields)
        self.publish()  # first: this process may die of one of them
        for name in dead:
            self._cache.delete(self._orphans_key(name))

    def _try_to_adopt(self, key: str, fields: Fields) -> None:
        try:
            self._adopt(key, fields)
        except Exception:  # of another version, which knew more: the others are none the worse
            logger.exception("a late message is lost: it cannot be read")

    def _signed(self, key: str, fields: Fields) -> str:
        return Signer(self._secrets, salt=key).sign(to_json(fields).encode()).decode()

    def _fields(self, key: str) -> Fields | None:
        orphan = self._cache.get(f"{key}:orphan")
        signer = Signer(self._secrets, salt=key)
        try:
            fields: Fields | None = json.loads(signer.unsign(orphan.encode())) if orphan else None
        except BadSignature:
            logger.error("a late message is not taken over: no token of this account has signed what the cache holds")
            return None
        return fields

    def _names_key(self) -> str:
        return self._cache.key("process", "all")

    def _orphans_key(self, name: str) -> str:
        return self._cache.key("process", name, "orphans")
