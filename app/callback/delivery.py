"""Step 4: one answer per message, whichever process a delivery of it reaches.

What the cache holds of a message, each key set once and for all by the first who adds it:

    KEY           the claim: which process runs the handler, and since when
    KEY:2, KEY:3  the deliveries that came after the first
    KEY:run2, …   the claims of processes that took over from a dead one (wards.py is for those whom no delivery wakes)
    KEY:answer    the decision: ["reply", xml], or ["waiting", xml] where it was ready while its own delivery could
                  no longer carry it, or ["late"] where the last delivery could not wait any longer
    KEY:way       who carries an answer that is not a "reply": a delivery, or the late way
"""

import contextvars
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from app.cache import Cache, to_json
from app.callback.late import Answer, Late
from app.callback.watch import DIED, Watch

DELIVERY_SECONDS = 5.0
"""WeChat waits so long for an answer, then hangs up and delivers the message again."""
ANSWER_SECONDS = 4.5
"""A delivery answers within this time of its arrival, so that the answer reaches WeChat before it hangs up."""
# A little longer than WeChat waits: it must have hung up, or it would take our silence for the answer.
_GONE_SECONDS = 5.5
_SAID_BEFORE_SECONDS = 1.5
# An answer that is ready while no delivery is there waits so long for the next one.
_NEXT_DELIVERY_SECONDS = 6
# Who took over a message that kills its process must be known for longer than all of them together take to die.
_GENERATION_SECONDS = 24 * 3600
_NOBODY = ""
_LATE = to_json(["late"])
_BY_DELIVERY = to_json("delivery")

Run = Callable[[Any], Answer]
logger = logging.getLogger("wechat")


class _Delivery(NamedTuple):
    """One delivery of a message: what it claims with, and until when (monotonic) it must answer."""

    key: str
    message: Any
    claim: str
    answer_by: float
    is_last: bool

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.answer_by


class _Running(NamedTuple):
    """A handler's run in this process: since when, and until when more than one delivery is left, both since 1970."""

    since: float
    awaited_until: float
    message: Any


class Rendezvous:
    """Lets the first delivery of a message run its handler, and gives the same answer to the others."""

    def __init__(self, cache: Cache, watch: Watch, late: Late, deliveries: int, keep_seconds: int) -> None:
        self._cache = cache
        self._watch = watch
        self._late = late
        self._deliveries = deliveries
        self._keep_seconds = keep_seconds
        self._serial = itertools.count(1)
        self._running: dict[str, _Running] = {}

    def answer(self, message: Any, run: Run, arrived: float) -> tuple[Answer, int]:
        """Return the message's answer and which delivery of it this is, counted from 1.

        ``run`` is called once for all deliveries of a message, as long as the cache remembers it; ``arrived`` is the
        monotonic time at which this one came.
        """
        key, claim = self._key(message), self._claim(self._watch.me())
        standing = self._cache.claim(key, claim, self._keep_seconds)
        answer_by = arrived + ANSWER_SECONDS
        if standing == claim and key not in self._running:
            return self._run(_Delivery(key, message, claim, answer_by, self._deliveries == 1), run), 1
        number = self._count(key, claim)
        is_last = number >= self._deliveries or self._is_old(key, standing)
        return self._join(_Delivery(key, message, claim, answer_by, is_last), run, _owner(standing)), number

    def note(self, message: Any) -> int:
        """Count a delivery that came too late to be handled, and return which one it is; the next one runs it."""
        key, claim = self._key(message), self._claim(_NOBODY)
        return 1 if self._cache.claim(key, claim, self._keep_seconds) == claim else self._count(key, claim)

    def unawaited(self) -> dict[str, Any]:
        """Return the fields, by key, of the messages whose handlers run here and for which one delivery may be left."""
        now, running = time.time(), list(self._running.items())
        return {key: one.message.fields for key, one in running if one.awaited_until <= now}

    def take_over(self, key: str, message: Any, run: Run) -> None:
        """Bring a message to its end whose process has died, unless somebody does, or too many have died with it."""
        delivery = _Delivery(key, message, self._claim(self._watch.me()), 0.0, is_last=True)
        for generation in range(2, self._deliveries + 3):
            standing = self._cache.claim(f"{key}:run{generation}", delivery.claim, _GENERATION_SECONDS)
            if standing == delivery.claim:
                return self._finish(delivery, run)
            if self._watch.wait(f"{key}:way", _GONE_SECONDS, _owner(standing)) != DIED:
                return None

    def _finish(self, delivery: _Delivery, run: Run) -> None:
        key = delivery.key
        kind, *xml = json.loads(self._cache.get(f"{key}:answer") or _LATE)
        if kind == "reply" or self._cache.get(f"{key}:way") is not None or key in self._running:
            return
        if kind == "late":
            logger.warning("a process died with a late answer; the handler runs again")
            self._running[key] = _Running(time.time(), 0.0, delivery.message)
            self._own(delivery, run)
        elif self._carry(key, to_json(f"late {delivery.claim}")):
            self._late.send(key, delivery.message, Answer(xml[0], "late"))

    def _join(self, delivery: _Delivery, run: Run, owner: str) -> Answer:
        """Wait for the answer that ``owner`` makes, and take over from it when it dies."""
        for generation in itertools.count(2):
            left = delivery.answer_by - time.monotonic()
            found = self._watch.wait(f"{delivery.key}:answer", left, owner) if owner != _NOBODY else DIED
            if found is None or (found != DIED and delivery.is_over):
                return self._give_up(delivery)
            if found != DIED:
                return self._take(delivery, found)
            standing = self._cache.claim(f"{delivery.key}:run{generation}", delivery.claim, self._keep_seconds)
            if standing == delivery.claim and delivery.key not in self._running:
                return self._run(delivery, run)
            owner = _owner(standing)
        raise AssertionError  # count() does not end

    def _run(self, delivery: _Delivery, run: Run) -> Answer:
        now = time.time()
        # The last delivery may come to this process and die with it: wards.py must have said so before, once a second.
        awaited_seconds = 0 if delivery.is_last else DELIVERY_SECONDS * (self._deliveries - 1) - _SAID_BEFORE_SECONDS
        self._running[delivery.key] = _Running(now, now + awaited_seconds, delivery.message)
        if not delivery.is_last:
            return self._own(delivery, run)
        # The last delivery must be answered in time: the handler goes on beside it, and a graceful stop waits for it.
        in_context = contextvars.copy_context().run
        thread = threading.Thread(target=in_context, args=(self._own, delivery, run), name="handler", daemon=False)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: late is better than never
            return self._own(delivery, run)
        return self._join(delivery, run, self._watch.me())

    def _own(self, delivery: _Delivery, run: Run) -> Answer:
        """Run the handler, and see to it that its answer is carried by a delivery or sent late."""
        key = delivery.key
        try:
            answer = run(delivery.message)
            in_time = not delivery.is_over
            stored = f'["{"reply" if in_time else "waiting"}",{to_json(answer.xml)}]'  # quicker than a list's JSON
            decided = self._decide(key, stored)
            if decided == stored and in_time:
                return answer
            if decided not in (stored, _LATE):  # another run of it was quicker
                return self._take(delivery, decided) if in_time else answer._replace(xml="", outcome="discarded")
            if decided == stored and self._is_taken(key, stored):
                return answer
            if self._carry(key, to_json(f"late {delivery.claim}")):
                self._late.send(key, delivery.message, answer)
            return answer._replace(xml="", outcome="late")
        except BaseException:
            self._cache.delete(key)  # nobody runs it any more: let the next delivery
            raise
        finally:
            self._running.pop(key, None)

    def _is_taken(self, key: str, stored: str) -> bool:
        """Wait for a delivery to take the answer; return False when none has come."""
        for _ in range(_NEXT_DELIVERY_SECONDS):
            if self._watch.wait(f"{key}:way", 1.0) is not None:
                return True
            if self._decide(key, stored) not in (stored, _LATE):  # again: a cache that was down may be back
                return True
        return False

    def _take(self, delivery: _Delivery, decided: str) -> Answer:
        kind, *xml = json.loads(decided)
        if kind == "reply" or (kind == "waiting" and self._carry(delivery.key, _BY_DELIVERY)):
            return Answer(xml[0], "repeated")
        return Answer(self._late.reply(delivery.message), "late")

    def _give_up(self, delivery: _Delivery) -> Answer:
        """Answer a delivery whose time is up while the handler still runs."""
        if not delivery.is_last:
            time.sleep(max(delivery.answer_by + _GONE_SECONDS - ANSWER_SECONDS - time.monotonic(), 0))
            return Answer("", "waited")
        self._late.expect(delivery.key, delivery.message)  # before it can be there
        decided = self._decide(delivery.key, _LATE)
        if decided != _LATE:
            self._late.unexpect(delivery.key, delivery.message)
        return self._take(delivery, decided)

    def _decide(self, key: str, answer: str) -> str:
        decided = self._cache.claim(f"{key}:answer", answer, self._keep_seconds)
        self._watch.publish(f"{key}:answer", decided)
        return decided

    def _carry(self, key: str, way: str) -> bool:
        decided = self._cache.claim(f"{key}:way", way, self._keep_seconds)
        self._watch.publish(f"{key}:way", decided)
        return decided == way

    def _count(self, key: str, claim: str) -> int:
        later = range(2, self._deliveries + 1)
        seconds = self._keep_seconds
        return next(
            (n for n in later if self._cache.claim(f"{key}:{n}", claim, seconds) == claim), self._deliveries + 1
        )

    def _key(self, message: Any) -> str:
        return self._cache.key("message", *identity(message))

    def _claim(self, owner: str) -> str:
        return f'["{owner}",{next(self._serial)},{time.time():.1f}]'

    def _is_old(self, key: str, claim: str) -> bool:
        """Tell whether the message is so old that this must be the last delivery, though others were not counted."""
        since = float(json.loads(claim)[2])
        if running := self._running.get(key):
            since = min(since, running.since)
        return time.time() - since > DELIVERY_SECONDS * (self._deliveries - 1) - 0.5


def _owner(claim: str) -> str:
    return str(json.loads(claim)[0])


def identity(message: Any) -> tuple[str, ...]:
    """Return what all deliveries of a message, and no other message, have in common."""
    # https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_standard_messages.html
    # MsgId is not unique across fans, and different events of one second happen: hence FromUserName, Event, EventKey.
    fields = message.fields
    if msg_id := fields.get("MsgId"):
        return message.openid, str(msg_id)
    # Those of WeChat's push service about a fan, such as a revocation, name the fan in OpenID.
    names = ("FromUserName", "CreateTime", "MsgType", "Event", "EventKey", *(["OpenID"] if "OpenID" in fields else []))
    return tuple(str(fields.get(name)) for name in names)
