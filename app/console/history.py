"""What was counted in each minute of the last hour, or in each ten minutes of the last day: the figures of /metrics."""

import hashlib
import json
import logging
import os
import socket
import threading
import time
from collections import Counter
from pathlib import Path

from flask import Flask

from app import metrics
from app.cache import to_json
from app.errors import StoreError
from app.store.figures import figures_since, has_figures, keep_figures

Counts = Counter[str]
"""What was counted, under names such as "messages/text"."""
SPANS = {"hour": (60, 1), "day": (24 * 60, 10)}
"""How many minutes each span has, and how many a step of it."""
# Where a figure of /metrics is counted, and by which of its labels.
_COUNTED = {
    "wechat_messages_total": (("messages", "type"), ("outcomes", "outcome")),
    "wechat_deliveries_total": (("deliveries", "delivery"),),
    "wechat_refused_requests_total": (("refused", "reason"),),
    "wechat_late_answers_total": (("late", "way"),),
    "wechat_api_calls_total": (("calls", "endpoint"), ("errcodes", "errcode")),
    "wechat_answer_seconds_bucket": (("seconds", "le"),),
}
logger = logging.getLogger("wechat.console")


class Step:
    """What was counted from ``begins`` on, in seconds since 1970, until the next step begins."""

    def __init__(self, begins: int) -> None:
        self.begins = begins
        self.counts: Counts = Counter()

    def of(self, group: str) -> Counts:
        """Return the counts of "messages", "deliveries" or another group, under the values of their label."""
        named = (name.split("/", 1) for name in self.counts)
        return Counter({label: self.counts[f"{group}/{label}"] for its, label in named if its == group})


class History:
    """Keeps the account's figures, and gives them back."""

    def __init__(self, app: Flask, appid: str) -> None:
        self._app = app
        self._appid = appid
        self._source = _source()

    def start(self) -> None:
        """Keep the figures at the end of each minute, in a thread: one of this uWSGI's processes does it for all."""
        threading.Thread(target=self._run, name="history", daemon=True).start()

    def keep(self) -> None:
        """Keep the figures of this minute, unless that has been done. Raises StoreError."""
        minute = int(time.time() // 60)
        if not has_figures(self._appid, self._source, minute):
            keep_figures(self._appid, self._source, minute, to_json(counted()))

    def steps(self, span: str) -> list[Step]:
        """Return the steps of the last "hour" or "day", the one that has not ended yet included. Raises StoreError."""
        minutes, step = SPANS[span]
        end = int(time.time() // 60) // step * step + step
        since = end - minutes
        found = [Step(minute * 60) for minute in range(since, end, step)]
        before: dict[str, Counts] = {}
        kept = [(source, at, Counter(json.loads(text))) for source, at, text in figures_since(self._appid, since)]
        for source, minute, counts in (*kept, (self._source, end, counted())):
            if source in before:
                number = min((minute - 1 - since) // step, len(found) - 1)  # a machine's clock may be ahead
                found[number].counts.update(_increase(before[source], counts))
            before[source] = counts
        return found

    def _run(self) -> None:
        while True:
            try:
                with self._app.app_context():
                    self.keep()
            except StoreError as error:
                logger.warning("this minute is missing in the console's charts: %s", error)
            except Exception:  # whatever it is: the next minute counts again
                logger.exception("this minute is missing in the console's charts")
            time.sleep(60 - time.time() % 60)


def _source() -> str:
    """Return a name for those who count together, all workers of a uWSGI, that no others have here or elsewhere."""
    machine = Path("/etc/machine-id")
    known = f"{machine.read_text() if machine.exists() else ''} {metrics.folder() or os.getpid()}"
    return f"{socket.gethostname()[:40]} {hashlib.blake2b(known.encode(), digest_size=6).hexdigest()}"


def counted() -> Counts:
    """Return what this uWSGI has counted since it started."""
    counts: Counts = Counter()
    for name, labels, value in metrics.samples():
        for group, label in _COUNTED.get(name, ()):
            counts[f"{group}/{labels[label]}"] += int(value)
    return counts


def _increase(before: Counts, after: Counts) -> Counts:
    """Return what was counted between the two; a counter that began anew has counted what it says."""
    began_anew = any(after[name] < count for name, count in before.items())
    return Counter({name: count - (0 if began_anew else before[name]) for name, count in after.items()})
