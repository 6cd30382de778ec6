"""What a process leaves behind that dies after the last delivery of a message: another one brings it to its end.

What the cache holds for that:

    processes    the names of all processes, each of which puts itself there
    wards NAME   the keys of messages whose handlers run in NAME though no delivery is still to come
    KEY:ward     the fields of such a message
"""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from app.cache import Cache, to_json
from app.callback.watch import Watch

Unawaited = Callable[[], Mapping[str, Mapping[str, Any]]]
Adopt = Callable[[str, dict[str, Any]], object]
_LOOK_SECONDS = 1.0
# Counted in looks, not in seconds: a machine that stood still for a while has not killed anybody.
_LOOKS_WITHOUT_BEAT = 3
_KEEP_SECONDS = 3600


class Wards:
    """Says which messages would be orphans, and adopts those of a process that has died.

    ``unawaited()`` returns the fields of this process's own ones by their key; ``adopt(key, fields)`` is called in a
    thread of its own for each of another's.
    """

    def __init__(self, cache: Cache, watch: Watch, unawaited: Unawaited, adopt: Adopt) -> None:
        self._cache = cache
        self._watch = watch
        self._unawaited = unawaited
        self._adopt = adopt
        self._said: set[str] = set()
        self._sightings: dict[str, tuple[str | None, int]] = {}
        self._pid = 0

    def start(self) -> None:
        """Look after them from now on, in this process; no matter how often it is called."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            if self._cache.shared:
                threading.Thread(target=self._loop, name="wards", daemon=True).start()

    def _loop(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Publish this process's own, and see who has died."""
        self._publish()
        names: list[str] = json.loads(self._cache.get(self._names_key()) or "[]")
        me = self._watch.me()
        others = [name for name in names if name != me]
        beats = self._cache.get_many(*map(self._watch.beat_key, others)) if others else []
        if beats is None:  # a cache that is down, by which nobody is judged
            self._sightings.clear()
            return
        dead = self._dead(dict(zip(others, beats, strict=True)))
        for name in dead:
            self._take_over(name)
        if dead or me not in names:  # where two write at once, who is left out comes back at the next look
            left = sorted({*names, me} - set(dead))
            self._cache.set(self._names_key(), to_json(left), _KEEP_SECONDS)

    def _publish(self) -> None:
        unawaited = self._unawaited()
        for key in unawaited.keys() - self._said:
            self._cache.set(f"{key}:ward", to_json(unawaited[key]), _KEEP_SECONDS)
        for key in self._said - unawaited.keys():
            self._cache.delete(f"{key}:ward")
        if unawaited.keys() != self._said:
            self._cache.set(self._wards_key(self._watch.me()), to_json(sorted(unawaited)), _KEEP_SECONDS)
            self._said = set(unawaited)

    def _dead(self, beats: Mapping[str, str | None]) -> list[str]:
        seen, self._sightings = self._sightings, {}
        for name, beat in beats.items():
            last_beat, looks = seen.get(name, (beat, 0))
            self._sightings[name] = beat, looks + 1 if beat == last_beat else 0
        return [name for name, (_, looks) in self._sightings.items() if looks >= _LOOKS_WITHOUT_BEAT]

    def _take_over(self, name: str) -> None:
        for key in json.loads(self._cache.get(self._wards_key(name)) or "[]"):
            fields = self._cache.get(f"{key}:ward")
            if fields is not None:
                # Not a daemon, so that a graceful stop waits for it.
                threading.Thread(target=self._adopt, args=(key, json.loads(fields)), name="ward", daemon=False).start()

    def _names_key(self) -> str:
        return self._cache.key("process", "all")

    def _wards_key(self, name: str) -> str:
        return self._cache.key("process", name, "wards")
