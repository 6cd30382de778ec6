"""The late way: what an answer does that comes after WeChat's last delivery."""

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import log
from app import metrics
from app.cache import Cache, to_json
from app.callback.render import render
from app.callback.watch import Watch
from app.config import Settings
from app.errors import ApiError, BadReply

SendLate = Callable[[str, Any], object]
"""``send_late(openid, reply)`` sends what a handler returned, and raises when that failed for good."""

_KEEP_SECONDS = 48 * 3600
_KEEP_TRIES, _KEEP_APART_SECONDS = 10, 1.0
# A handler that has not ended by then is not waited for by the pickup word.
_EXPECT_SECONDS = 600
# How long no customer-service message is tried after WeChat's errcode for one, where it concerns all fans.
_CLOSED_SECONDS = {
    48001: 3600,
    50002: 3600,
    45009: 600,
    40125: 600,
    40164: 600,
    40243: 600,
    45011: 60,
    -1: 60,
    None: 60,
}
_CLOSED_OTHERWISE_SECONDS = 600
_LOCK_SECONDS = 3
_LOCK_POLL_SECONDS = 0.05
logger = logging.getLogger("wechat.late")


class Answer(NamedTuple):
    """What a message is answered with: ``xml`` is empty for silence; ``outcome`` and ``handler`` are for the log.

    ``value`` is what the handler returned, for the way that does not take XML.
    """

    xml: str
    outcome: str
    handler: str = "-"
    value: Any = None


class Late:
    """Sends an answer as a customer-service message, or keeps it until the fan says the pickup word.

    A fan's waiting answers are a list of the messages' keys in the order in which they were asked; the answer to a
    message lies under a key of its own, once it is there.
    """

    def __init__(self, settings: Settings, cache: Cache, watch: Watch, send_late: SendLate | None) -> None:
        self._settings = settings
        self._word = settings.pickup_word.strip()
        self._cache = cache
        self._watch = watch
        self._send_late = send_late
        if send_late is None and settings.late_reply == "customer_service":
            logger.warning("WECHAT_LATE_REPLY=customer_service without a way to send: late answers wait for the fan")

    def reply(self, message: Any) -> str:
        """Return the XML for a delivery whose answer will be late: silence where it comes by itself."""
        return "" if self._by_itself() else render(self._settings.hold_reply, message, int(time.time()))

    def expect(self, key: str, message: Any) -> None:
        """Note that the answer to the message ``key`` will be late, so that the pickup word waits for it."""
        if not self._by_itself():
            self._add(message.openid, key)

    def unexpect(self, key: str, message: Any) -> None:
        """Note that there is nothing to wait for after all."""
        if self._waiting(message.openid):
            with self._changed(message.openid) as waiting:
                waiting[:] = [entry for entry in waiting if entry[0] != key]

    def waiting(self, openid: str) -> int:
        """Return how many answers wait for the fan, those that are still being made included."""
        now = time.time()
        waiting = self._waiting(openid)
        return sum(now - since <= _EXPECT_SECONDS or self._cache.get(_body(key)) is not None for key, since in waiting)

    def forget(self, openid: str) -> None:
        """Forget the fan's waiting answers, and those that are still being made."""
        self._cache.set(self._cache.key("left", openid), str(int(time.time())), _EXPECT_SECONDS)
        if self._waiting(openid):
            with self._changed(openid) as waiting:
                for key, _ in waiting:
                    self._cache.delete(_body(key))
                waiting.clear()

    def has_left(self, message: Any) -> bool:
        """Tell whether the fan has left since ``message``."""
        left = self._cache.get(self._cache.key("left", message.openid))
        asked = str(message.fields.get("CreateTime"))
        return left is not None and asked.isdecimal() and int(asked) <= int(left)

    def send(self, key: str, message: Any, answer: Answer) -> None:
        """Send the late answer, or keep it for the pickup word where that is not allowed or fails."""
        if self.has_left(message):
            answer = answer._replace(xml="")
        unsent = self._unsent(message, answer) if answer.xml else None
        if unsent:
            self._keep(key, message, unsent)
        else:
            self.unexpect(key, message)
        # "none" for a handler that returned None, or a fan who has left
        way = "next_message" if unsent else "customer_service" if answer.xml else "none"
        metrics.LATE_ANSWERS.labels(way).inc()
        fields = {"openid": log.masked(message.openid), "handler": answer.handler, "way": way}
        logger.info("late answer", extra={"fields": fields})

    def collect(self, message: Any) -> Answer | None:
        """Return the fan's first waiting answer where ``message`` is the pickup word, else None.

        One that is still being made is waited for as long as this delivery may wait.
        """
        content = message.fields.get("Content")  # on the road of every message: no slower than need be
        if not isinstance(content, str) or content.strip() != self._word or message.msg_type != "text":
            return None
        if not (waiting := self._waiting(message.openid)):
            return None
        xml = self._take(message.openid)
        if xml is None:
            self._watch.wait(_body(waiting[0][0]), message.deadline - 0.5)
            xml = self._take(message.openid)
        if xml is not None:
            return Answer(xml, "picked up")
        return Answer(self.reply(message), "late") if self._waiting(message.openid) else None

    def _by_itself(self) -> bool:
        if self._send_late is None or self._settings.late_reply == "next_message":
            return False
        return self._settings.late_reply == "customer_service" or self._cache.get(self._closed_key()) is None

    def _unsent(self, message: Any, answer: Answer) -> Answer | None:
        """Send the answer, and return what of it could not be sent."""
        if self._send_late is None or answer.value is None or not self._by_itself():
            return answer
        try:
            self._send_late(message.openid, answer.value)
        except ApiError as error:
            logger.warning("the customer-service message failed; the answer waits for the pickup word: %s", error)
            if seconds := _CLOSED_SECONDS.get(error.errcode):
                self._close(seconds)
            return answer if error.unsent is None else answer._replace(value=error.unsent)
        except BadReply as error:
            logger.warning("%s; the answer waits for the pickup word", error)
            return answer
        except Exception:  # whatever it was, the answer must not be lost with it
            logger.exception("the customer-service message failed; the answer waits for the pickup word")
            self._close(_CLOSED_OTHERWISE_SECONDS)
            return answer
        return None

    def _close(self, seconds: int) -> None:
        self._cache.set(self._closed_key(), "true", seconds)

    def _keep(self, key: str, message: Any, answer: Answer) -> None:
        xml = answer.xml
        if answer.value is not None:  # it will answer a text, which takes one article where an event takes eight
            xml = render(answer.value, message, int(time.time()), answers_event=False)
        kept = to_json(xml)
        for _ in range(_KEEP_TRIES):  # nothing waits for this thread, and a cache that is down may be back in a moment
            if self._cache.set(_body(key), kept, _KEEP_SECONDS):
                self._add(message.openid, key)
                self._watch.publish(_body(key), kept)
                return
            time.sleep(_KEEP_APART_SECONDS)
        logger.error("a late answer is lost: the cache does not take it")
        self.unexpect(key, message)

    def _waiting(self, openid: str) -> list[list[Any]]:
        waiting: list[list[Any]] = json.loads(self._cache.get(self._list_key(openid)) or "[]")
        return waiting

    def _add(self, openid: str, key: str) -> None:
        with self._changed(openid) as waiting:
            if key not in (known for known, _ in waiting):
                waiting.append([key, int(time.time())])

    def _take(self, openid: str) -> str | None:
        with self._changed(openid) as waiting:
            for entry in list(waiting):
                key, since = entry
                if (kept := self._cache.get(_body(key))) is not None:
                    waiting.remove(entry)
                    self._cache.delete(_body(key))
                    return str(json.loads(kept))
                if time.time() - since > _EXPECT_SECONDS:
                    waiting.remove(entry)
        return None

    @contextmanager
    def _changed(self, openid: str) -> Iterator[list[list[Any]]]:
        """Give the fan's list to be changed, one thread of all processes at a time."""
        key = self._list_key(openid)
        give_up = time.monotonic() + _LOCK_SECONDS
        mine = to_json(secrets.token_hex(6))
        # A cache that is down gives the lock to everybody: there is no list in it either.
        while self._cache.claim(f"{key}:lock", mine, _LOCK_SECONDS) != mine and time.monotonic() < give_up:
            time.sleep(_LOCK_POLL_SECONDS)
        try:
            waiting = self._waiting(openid)
            before = list(waiting)
            yield waiting
            if not waiting:
                self._cache.delete(key)
            elif waiting != before:
                self._cache.set(key, to_json(waiting), _KEEP_SECONDS)
        finally:
            if self._cache.get(f"{key}:lock") == mine:
                self._cache.delete(f"{key}:lock")

    def _list_key(self, openid: str) -> str:
        return self._cache.key("late", openid)

    def _closed_key(self) -> str:
        return self._cache.key("late", "closed")


def _body(key: str) -> str:
    return f"{key}:late"
