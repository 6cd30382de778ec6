"""A uWSGI that runs: what it says of itself, and what its workers have in hand."""

import json
import os
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from app import metrics

_TIMEOUT_SECONDS = 3.0


class Running(NamedTuple):
    """What it says of itself (``said``), and its workers' process ids."""

    said: dict[str, Any]
    workers: list[int]

    @property
    def threads(self) -> int:
        """How many threads its workers have now."""
        return sum(map(_tasks, self.workers))

    @property
    def files(self) -> int:
        """How many files a worker may open, 0 where that is not known."""
        for pid in self.workers[:1]:
            with suppress(OSError):
                found = re.search(r"Max open files +(\d+)", Path(f"/proc/{pid}/limits").read_text())
                return int(found[1]) if found else 0
        return 0


def ask(stats: Path) -> Running:
    """Ask a uWSGI at its socket for figures. Raises OSError, ValueError or KeyError where it does not say."""
    with socket.socket(socket.AF_UNIX) as asked, asked.makefile("rb") as answer:
        asked.settimeout(_TIMEOUT_SECONDS)
        asked.connect(str(stats))
        said: dict[str, Any] = json.load(answer)
    return Running(said, [worker["pid"] for worker in said["workers"] if worker["pid"]])


def in_hand(folder: Path) -> str:
    """Return what the workers whose figures are in ``folder`` have in hand, "" where that cannot be read."""
    with suppress(OSError, ValueError, KeyError):
        seen = {(name, labels.get("place")): int(value) for name, labels, value in metrics.samples(folder)}
        inline, thread, loop = (seen["wechat_handlers_in_flight", place] for place in ("inline", "thread", "loop"))
        held = seen["wechat_held_deliveries", None]
        return f"{held} deliveries held; handlers: {inline} inline, {thread} in threads, {loop} on the event loop"
    return ""


def cache_fills(folder: Path) -> dict[str, float]:
    """Return how full the rooms of the cache were when /readyz or /metrics was asked last, as the workers noted it."""
    with suppress(OSError, ValueError):
        return {labels["room"]: value for name, labels, value in metrics.samples(folder) if name == "wechat_cache_fill"}
    return {}


def _tasks(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task"))
    return 0
