"""The handler table as it is at work, and what no row took."""

from collections import Counter, defaultdict
from typing import NamedTuple

from flask import Blueprint, render_template

from app import metrics
from app.table.dispatch import Table
from app.table.known import MESSAGE_TYPES
from app.table.rows import Row


class Shown(NamedTuple):
    """A row, and what came of its runs in ``seconds``.

    ``outcomes`` is None where several rows are counted together: too many of them, or keys that begin alike.
    """

    row: Row
    outcomes: Counter[str] | None
    seconds: float

    @property
    def runs(self) -> int:
        """How often the handler ran; after a busy reply it did not."""
        return sum(self.outcomes.values()) - self.outcomes["busy"] if self.outcomes else 0


def add_handlers(site: Blueprint, table: Table) -> None:
    """Put the page on ``site``."""

    @site.get("/handlers")
    def handlers() -> str:
        samples = list(metrics.samples())
        shown = {"rows": _rows(table, samples), "middleware": table.middleware, "untaken": _untaken(samples)}
        return render_template("console/handlers.html", **shown)


def _rows(table: Table, samples: list[metrics.Sample]) -> list[Shown]:
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seconds: defaultdict[str, float] = defaultdict(float)
    for name, labels, value in samples:
        if name == "wechat_handler_seconds_count":
            outcomes[labels["row"]][labels["outcome"]] += int(value)
        elif name == "wechat_handler_seconds_sum":
            seconds[labels["row"]] += value
    labels_of = [metrics.row_label(row.text) for row in table.rows]
    rows_of = Counter(labels_of)
    return [
        Shown(row, outcomes[label] if rows_of[label] == 1 else None, seconds[label])
        for row, label in zip(table.rows, labels_of, strict=True)
    ]


def _untaken(samples: list[metrics.Sample]) -> list[tuple[str, str, int]]:
    """Return what no row took, as (the row that would, type and event, how often), the most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    for name, labels, value in samples:
        if name == "wechat_messages_total" and labels["outcome"] == "unhandled":
            found[labels["type"], labels["event"]] += int(value)
    return [(_suggested(*what), " ".join(filter(None, what)), count) for what, count in found.most_common() if count]


def _suggested(msg_type: str, event: str) -> str:
    key = (msg_type, event) if event and event != "other" else msg_type if msg_type in MESSAGE_TYPES else "*"
    return f"{key!r}: your_handler,"
