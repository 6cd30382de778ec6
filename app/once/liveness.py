"""Who lives and who has died: a process's name and heartbeat, and whose heartbeat has stopped."""

import json
import os
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path

from app.cache import Cache, to_json

BEAT_SECONDS = 0.5
_BEAT_KEPT_SECONDS = 60
_ENDED = to_json("ended")


class _Forks:
    """Counts the forks that led to this process: threads that were started before one are not here."""

    def __init__(self) -> None:
        self.count = 0
        self.naming = threading.Lock()
        os.register_at_fork(after_in_child=self._note)

    def _note(self) -> None:
        self.count += 1
        self.naming = threading.Lock()  # a thread that is not here may have held it


FORKS = _Forks()


class Heartbeat:
    """This process's name among all in the cache, and the heartbeat under it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._named_after = -1
        self._name = ""
        self._where = ""
        self._beats = 0
        self._has_ended = False

    @property
    def name(self) -> str:
        """The name; another one after a fork."""
        if self._named_after != FORKS.count:
            with FORKS.naming:  # or each of many threads would claim its message under a name of its own
                if self._named_after != FORKS.count:
                    self._name, self._where, self._named_after = secrets.token_hex(6), here(), FORKS.count
        return self._name

    def beat(self) -> None:
        """Say once more that this process lives."""
        if self._cache.shared and not self._has_ended:
            self._beats += 1
            key = self.key_of(self.name)  # which finds out where it is
            self._cache.set(key, to_json([self._beats, self._where]), _BEAT_KEPT_SECONDS)

    def end(self) -> None:
        """Say that this process ends now, so that nobody need wait to see it."""
        self._has_ended = True
        if self._cache.shared:
            self._cache.set(self.key_of(self.name), _ENDED, _BEAT_KEPT_SECONDS)

    def key_of(self, name: str) -> str:
        """Return the key whose value changes twice a second as long as the process ``name`` lives."""
        return self._cache.key("process", name)


def here() -> str:
    """Return where this process is: boot, PID namespace, PID and start time; "" where Linux does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')} {os.getpid()} {_started_at(os.getpid())}"
    except OSError:
        return ""


def _has_gone(where: str) -> bool:
    """Return whether no process is there any more; False for another machine or container, which cannot be seen."""
    machine, _, process = where.partition(" ")
    if not machine or machine != here().partition(" ")[0]:
        return False
    pid, started_at = process.split()
    try:
        os.kill(int(pid), 0)  # /proc may hide those of other users
        return _started_at(int(pid)) != started_at
    except ProcessLookupError:
        return True
    except OSError:
        return False


def _started_at(pid: int) -> str:
    """Return when the process was started, in ticks since the boot; "" for one that has ended."""
    # "PID (NAME) STATE PPID ...", and a name may hold anything: man 5 proc_pid_stat
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


class Deaths:
    """Tells who has died: who is not where they were, or whose heartbeat was the same at ``looks`` looks in a row.

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
        return [name for name, (beat, looks) in self._seen.items() if looks >= self._looks or _has_ended(beat)]

    def has_seen_alive(self, name: str) -> bool:
        """Return whether the heartbeat has changed between two looks."""
        return name in self._alive

    def clear(self) -> None:
        """Judge nobody by what was seen so far."""
        self._seen.clear()


def _has_ended(beat: str | None) -> bool:
    if beat is None or beat == _ENDED:
        return beat == _ENDED
    said = json.loads(beat)
    return isinstance(said, list) and _has_gone(said[1])  # a process of the version before says a number alone
