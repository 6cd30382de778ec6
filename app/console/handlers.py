"""The handler table as it is at work, and what no row took."""

from collections import Counter, defaultdict
from typing import NamedTuple

from flask import Blueprint, render_template

from app import metrics
from app.callback.dispatch import Table, as_python, handler_name, handler_place
from app.callback.known import MESSAGE_TYPES


class Row(NamedTuple):
    """A row of HANDLERS: its key, its function and where that is, and what came of its runs."""

    key: str
    name: str
    file: str
    line: int
    outcomes: Counter[str]
    seconds: float

    @property
    def runs(self) -> int:
        """How often the handler ran; after a busy reply it did not."""
        return sum(self.outcomes.values()) - self.outcomes["busy"]


def add_handlers(site: Blueprint, table: Table) -> None:
    """Put the page on ``site``."""

    @site.get("/handlers")
    def handlers() -> str:
        rows, middleware = _rows(table), [(handler_name(one), *handler_place(one)) for one in table.middleware]
        return render_template("console/handlers.html", rows=rows, middleware=middleware, untaken=_untaken())


def _rows(table: Table) -> list[Row]:
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    for name, labels, value in metrics.samples():
        if name == "wechat_handler_seconds_count":
            outcomes[labels["row"]][labels["outcome"]] += int(value)
        elif name == "wechat_handler_seconds_sum":
            seconds[labels["row"]] += value  # type: ignore[assignment]
    found = []
    for key, handler in table.rows.items():
        shown = as_python(key)
        counted = metrics.row_label(shown)
        found.append(Row(shown, handler_name(handler), *handler_place(handler), outcomes[counted], seconds[counted]))
    return found


def _untaken() -> list[tuple[str, str, int]]:
    """Return what no row took, as (type, event, how often), and the most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    for name, labels, value in metrics.samples():
        if name == "wechat_messages_total" and labels["outcome"] == "unhandled":
            found[labels["type"], labels["event"]] += int(value)
    return [(_suggested(*what), " ".join(filter(None, what)), count) for what, count in found.most_common() if count]


def _suggested(msg_type: str, event: str) -> str:
    key = (msg_type, event) if event and event != "other" else msg_type if msg_type in MESSAGE_TYPES else "*"
    return f"{key!r}: your_handler,"
