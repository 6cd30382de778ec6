"""What happened to one message of the phone: the row that took it, its deliveries, and its log lines."""

from typing import Any, NamedTuple

from flask import has_request_context, request

import log
from app.callback import xml
from app.callback.parse import parse
from app.sandbox.courier import MESSAGE_HEADER
from app.sandbox.state import State
from app.table.dispatch import Table
from app.table.rows import Row

_MOST_CHARACTERS = 8000


class Trace(NamedTuple):
    """All that is known of the message ``number``, which was sent as ``xml``, with a ``fault`` or "" for none.

    ``session`` is the fan's before it, ``late`` the customer-service messages between it and the fan's next one.
    """

    number: int
    fault: str
    openid: str
    xml: str
    row: Row | None
    deliveries: list[dict[str, Any]]
    answer: dict[str, Any] | None
    lines: list[str]
    session: dict[str, Any]
    late: list[dict[str, Any]]


def find_trace(state: State, table: Table, number: int) -> Trace | None:
    """Return what is known of the message, None where there is none of that number."""
    said = state.record("said", number)
    if said is None:
        return None
    answer = next(iter(state.records("answer", message=number)), None)
    lines = [one["line"] for one in state.records("line", message=number)]
    deliveries = state.records("delivery", message=number)
    openid, row = said["openid"], _row(table, said["xml"])
    after = [one["number"] for one in state.records("said", openid=openid) if one["number"] > number]
    sent = state.records("message", touser=openid)
    late = [one for one in sent if number < one["number"] < min(after, default=one["number"] + 1)]
    session = said.get("session", {})
    return Trace(number, said["fault"], openid, said["xml"], row, deliveries, answer, lines, session, late)


def keep_lines(state: State) -> None:
    """Keep the log lines of messages that come from the phone, in this process."""

    def keep(line: str) -> None:
        number = request.headers.get(MESSAGE_HEADER, "") if has_request_context() else ""
        if number.isdecimal():
            state.add("line", {"message": int(number), "line": line[:_MOST_CHARACTERS]})

    log.add_listener(keep)


def _row(table: Table, message_xml: str) -> Row | None:
    row = table.find(parse(xml.read(message_xml.encode())))
    return None if row.handler is None else row
