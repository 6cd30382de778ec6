"""Who lives and who has died: a process's name and heartbeat, and whose heartbeat has stopped."""

import os
import secrets
from collections.abc import Mapping

from app.cache import Cache, to_json

BEAT_SECONDS = 0.5
_BEAT_KEPT_SECONDS = 60
_ENDED = to_json("ended")


class _Forks:
    """Counts the forks that led to this process: threads that were started before one are not here."""

    def __init__(self) -> None:
        self.count = 0
        os.register_at_fork(after_in_child=self._note)

    def _note(self) -> None:
        self.count += 1


FORKS = _Forks()


class Heartbeat:
    """This process's name among all in the cache, and the heartbeat under it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._named_after = -1
        self._name = ""
        self._beats = 0
        self._has_ended = False

    @property
    def name(self) -> str:
        """The name; another one after a fork."""
        if self._named_after != FORKS.count:
            self._name, self._named_after = secrets.token_hex(6), FORKS.count
        return self._name

    def beat(self) -> None:
        """Say once more that this process lives."""
        if self._cache.shared and not self._has_ended:
            self._beats += 1
            self._cache.set(self.key_of(self.name), str(self._beats), _BEAT_KEPT_SECONDS)

    def end(self) -> None:
        """Say that this process ends now, so that nobody need wait to see it."""
        self._has_ended = True
        if self._cache.shared:
            self._cache.set(self.key_of(self.name), _ENDED, _BEAT_KEPT_SECONDS)

    def key_of(self, name: str) -> str:
        """Return the key whose value changes twice a second as long as the process ``name`` lives."""
        return self._cache.key("process", name)


class Deaths:
    """Tells who has died: whose heartbeat was the same at ``looks`` looks in a row.

    Counted in looks, not in seconds: a machine that stood still for a while has not killed anybody.
    """

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._seen: dict[str, tuple[str | None, int]] = {}
        self._alive: set[str] = set()

    def dead(self, beats: Mapping[str, str | None]) -> list[str]:
        """Look once more: ``beats`` are those of all who are of interest. Return who is dead."""
        before, self._seen = self._seen, {}
        for name, beat in beats.items():
            last_beat, looks = before.get(name, (beat, -1))
            self._seen[name] = beat, looks + 1 if beat == last_beat else 0
            if beat != last_beat:
                self._alive.add(name)
        self._alive &= beats.keys()
        return [name for name, (beat, looks) in self._seen.items() if looks >= self._looks or beat == _ENDED]

    def has_seen_alive(self, name: str) -> bool:
        """Return whether the heartbeat has changed between two looks."""
        return name in self._alive

    def clear(self) -> None:
        """Judge nobody by what was seen so far."""
        self._seen.clear()
