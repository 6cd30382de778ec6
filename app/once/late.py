"""The late delivery: bring an answer to its fan that is ready only after WeChat's last retry."""

import asyncio
import logging
import time
from typing import Any

import log
from app import metrics
from app.cache import Cache, is_numbers, understood
from app.config import Settings
from app.errors import ApiError, BadReply
from app.once.answer import Answer, Replies, SendLate
from app.once.loop import OnLoop
from app.once.pickup import EXPECT_SECONDS, Pickup

_KEEP_TRIES, _KEEP_APART_SECONDS = 10, 1.0
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
_PICKUP_POLL_SECONDS = 0.1
PICKED_UP = "picked up"
"""The outcome of an answer that waited for the fan."""
logger = logging.getLogger("wechat.late")


class LateDelivery:
    """Sends an answer as a customer-service message, or keeps it until the fan says the pickup word."""

    def __init__(self, settings: Settings, cache: Cache, replies: Replies, send_late: SendLate | None) -> None:
        self._late_reply = settings.late_reply
        self._cache = cache
        self._replies = replies
        self._send_late = send_late
        self._pickup = Pickup(cache)
        if send_late is None and settings.late_reply == "customer_service":
            logger.warning("WECHAT_LATE_REPLY=customer_service without a way to send: late answers wait for the fan")

    def reply(self, message: Any) -> str:
        """Return the body for a delivery whose answer will be late: silence where it comes by itself."""
        return "" if self._comes_by_itself() else self._replies.hold_reply(message)

    def expect(self, key: str, message: Any) -> None:
        """Note that the answer to the message ``key`` will be late, so that the pickup word waits for it."""
        if not self._comes_by_itself():
            self._pickup.expect(message.openid, key)

    def unexpect(self, key: str, message: Any) -> None:
        """Note that there is nothing to wait for after all."""
        self._pickup.unexpect(message.openid, key)

    def given(self, message: Any, answer: Answer) -> None:
        """Note that the fan gets ``answer`` to ``message``: where it was picked up, it waits no longer."""
        if answer.outcome == PICKED_UP:
            self._pickup.given(message.openid, self._key_of(message))

    def waiting(self, openid: str) -> int:
        """Return how many answers wait for the fan, those that are still being made included."""
        return self._pickup.waiting(openid)

    def forget(self, openid: str) -> None:
        """Forget the fan's waiting answers, and those that are still being made."""
        self._cache.set(self._cache.key("left", openid), str(int(time.time())), EXPECT_SECONDS)
        self._pickup.forget(openid)

    def has_left(self, message: Any) -> bool:
        """Tell whether the fan has left since ``message``."""
        left = understood(self._cache.get(self._cache.key("left", message.openid)), is_numbers)
        return left is not None and 0 < message.asked <= left

    def deliver(self, key: str, message: Any, answer: Answer) -> None:
        """Send the answer, or keep it for the pickup word where that is not allowed or fails."""
        if self.has_left(message):
            answer = answer._replace(body="")
        unsent = self._unsent(message, answer) if answer.body else None
        if unsent:
            way = "next_message" if self._keep(key, message, unsent) else "lost"
        else:  # "none" for a handler that returned None, or a fan who has left
            way = "customer_service" if answer.body else "none"
        if way != "next_message":
            self.unexpect(key, message)
        if way != "lost":
            self.given(message, answer)
        metrics.LATE_ANSWERS.labels(way).inc()
        fields = {"openid": log.masked(message.openid), "handler": answer.handler, "way": way}
        logger.info("late answer", extra={"fields": fields})

    async def collect(self, message: Any, seconds: float) -> Answer | None:
        """Return the first answer that waits for the fan, None where none does.

        One that is still being made is waited for ``seconds``, in no thread. It waits on until it is ``given``.
        """
        if (key := self._pickup.first(message.openid)) is None:
            return None
        taker, give_up = self._key_of(message), time.monotonic() + seconds
        body = self._pickup.take(message.openid, taker)
        while body is None and self._pickup.first(message.openid) == key and time.monotonic() < give_up:
            await OnLoop(asyncio.sleep(_PICKUP_POLL_SECONDS))
            if self._pickup.is_there(key):
                body = self._pickup.take(message.openid, taker)
        if body is not None:
            return Answer(body, PICKED_UP)
        return Answer(self.reply(message), "late") if self._pickup.first(message.openid) else None

    def _comes_by_itself(self) -> bool:
        if self._send_late is None or self._late_reply == "next_message":
            return False
        return self._late_reply == "customer_service" or self._cache.get(self._closed_key()) is None

    def _unsent(self, message: Any, answer: Answer) -> Answer | None:
        """Send the answer, and return what of it could not be sent."""
        if self._send_late is None or answer.value is None or not self._comes_by_itself():
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

    def _key_of(self, message: Any) -> str:
        return self._cache.key("message", *message.identity)

    def _keep(self, key: str, message: Any, answer: Answer) -> bool:
        body = self._replies.to_pick_up(message, answer)
        for _ in range(_KEEP_TRIES):  # nobody waits for this thread, and a cache that is down may be back in a moment
            if self._pickup.keep(message.openid, key, body):
                if self.has_left(message):  # meanwhile
                    self._pickup.forget(message.openid)
                return True
            time.sleep(_KEEP_APART_SECONDS)
        logger.error("a late answer is lost: the cache does not take it")
        return False

    def _closed_key(self) -> str:
        return self._cache.key("late", "closed")
