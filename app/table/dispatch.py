"""The handler table, and the lookup of a message in it."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.table.check import check
from app.table.known import MESSAGE_TYPES
from app.table.rows import Handler, Middleware, Row, describe, folded, has_pattern, no_row, row_of


class Table:
    """HANDLERS and MIDDLEWARE, compiled: ``rows`` in the dict's order, ``middleware`` as Functions.

    Raises ConfigError that names every row that cannot be meant.
    """

    def __init__(self, handlers: Mapping[Any, Handler], middleware: Iterable[Middleware] = ()) -> None:
        check(handlers, middleware)
        functions = tuple(middleware)
        self.middleware = tuple(map(describe, functions))
        self.rows = tuple(row_of(key, handler, functions) for key, handler in handlers.items())
        self._no_row = no_row(functions)
        self._exact = {folded(row.key): row for row in self.rows if not has_pattern(row.key)}
        self._patterns = [(row.key[0].lower(), row.key[1], row) for row in self.rows if has_pattern(row.key)]

    def find(self, message: Any) -> Row:
        """Return the most specific row, and leave a pattern's match in ``message.match``."""
        msg_type, detail, key = _place(message)
        for place in ((msg_type, detail, key), (msg_type, detail)):
            if place in self._exact:
                return self._exact[place]
        for pattern_type, pattern, row in self._patterns:
            if pattern_type == msg_type and detail is not None and (match := pattern.fullmatch(detail)):
                message.match = match
                return row
        return self._exact.get(msg_type) or self._exact.get("*") or self._no_row

    def become(self, other: "Table") -> None:
        """Take the rows of ``other`` from now on, for all who have this table."""
        vars(self).update(vars(other))

    def takes_click(self, key: str) -> bool:
        """Return whether a row is there for the click on ``key``, other than those for any event."""
        in_patterns = any(kind == "event" and pattern.fullmatch("click") for kind, pattern, _ in self._patterns)
        return in_patterns or not self._exact.keys().isdisjoint((("event", "click", key), ("event", "click")))

    def takes_anything(self) -> bool:
        """Return whether a row is there for what no other row takes."""
        return "*" in self._exact


def row_for(message: Any) -> str:
    """Return the row that would take ``message``, as Python; nothing of what the fan wrote is in it."""
    msg_type, detail, key = _place(message)
    place: Any = msg_type if msg_type in MESSAGE_TYPES else "*"
    if message.event is not None:
        place = (msg_type, detail, key) if key else (msg_type, detail)
    return f"{place!r}: your_handler,"


def _place(message: Any) -> tuple[str, str | None, Any]:
    if message.event is not None:
        scanned = message.event in ("subscribe", "scan") and message.scene is not None
        return message.msg_type, message.event, message.scene if scanned else message.event_key
    return message.msg_type, message.text, None
