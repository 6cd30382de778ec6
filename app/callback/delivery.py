"""Step 4: one answer per message, whichever process a delivery of it reaches."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from app.cache import Cache

# A little longer than WeChat waits: it must have hung up, or it would take our silence for the answer.
_DELIVERY_SECONDS = 5.5
_POLL_SECONDS = 0.1
# What the cache holds of a message: that its handler runs, or the reply's XML behind a mark.
_RUNNING, _ANSWERED = "running", "answered:"


class Answer(NamedTuple):
    """What a message is answered with: ``xml`` is empty for silence; ``outcome`` and ``handler`` are for the log."""

    xml: str
    outcome: str
    handler: str = "-"


class Rendezvous:
    """Lets the first delivery of a message run its handler, and gives the same reply to the others."""

    def __init__(self, cache: Cache, keep_seconds: int, deliveries: int) -> None:
        self._cache = cache
        self._keep_seconds = keep_seconds
        self._deliveries = deliveries

    def answer(self, message: Any, run: Callable[[Any], Answer]) -> tuple[Answer, int]:
        """Return the message's answer and which delivery of it this is, counted from 1.

        ``run`` is called once for all deliveries of a message, as long as the cache remembers it.
        """
        key = self._cache.key("message", *identity(message))
        if self._cache.add(key, _RUNNING, self._keep_seconds):
            return self._run(key, message, run), 1
        delivery = self._count(key)
        deadline = time.monotonic() + _DELIVERY_SECONDS
        while (stored := self._cache.get(key)) == _RUNNING and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if stored is None:  # a cache that is full, or has lost it: an answer twice is better than none
            return self._run(key, message, run), delivery
        if stored == _RUNNING:
            return Answer("", "waited in vain"), delivery
        return Answer(stored.removeprefix(_ANSWERED), "repeated"), delivery

    def _run(self, key: str, message: Any, run: Callable[[Any], Answer]) -> Answer:
        answer = run(message)
        if not self._cache.set(key, _ANSWERED + answer.xml, self._keep_seconds):
            self._cache.delete(key)  # no room: the next delivery runs it again rather than wait for nothing
        return answer

    def _count(self, key: str) -> int:
        later = range(2, self._deliveries + 1)
        return next((n for n in later if self._cache.add(f"{key}:{n}", "1", self._keep_seconds)), self._deliveries + 1)


def identity(message: Any) -> tuple[str, ...]:
    """Return what all deliveries of a message, and no other message, have in common."""
    # https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_standard_messages.html
    # MsgId is not unique across fans, and different events of one second happen: hence FromUserName, Event, EventKey.
    fields = message.fields
    if msg_id := fields.get("MsgId"):
        return message.openid, str(msg_id)
    return tuple(str(fields.get(name)) for name in ("FromUserName", "CreateTime", "MsgType", "Event", "EventKey"))
