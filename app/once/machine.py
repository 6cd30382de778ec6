"""The machine: what becomes of a delivery that arrives, and of a message whose process has died."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from app.cache import Cache
from app.config import Settings
from app.errors import Busy
from app.once.answer import DELIVERY_SECONDS, Answer, Answers
from app.once.claims import Claims, owner_of, since_of
from app.once.endings import Endings
from app.once.facts import LATE, Facts
from app.once.held import Delivery
from app.once.late import LateDelivery
from app.once.liveness import BEAT_SECONDS, Heartbeat
from app.once.loop import LOOP
from app.once.orphans import LOOK_SECONDS, Fields, Orphans
from app.once.pulse import every
from app.once.runs import INLINE, Runs
from app.once.threads import Threads
from app.once.waiting import NOBODY, Events, Waiting

_KEEP_SECONDS = 60
_SAID_BEFORE_SECONDS = 1.5
_STOP_POLL_SECONDS = 0.1
_CUT_SECONDS = 1.0
logger = logging.getLogger("wechat")


class _Running(NamedTuple):
    """A run in this process: since when, and until when more than one delivery is left, both since 1970."""

    since: float
    awaited_until: float
    message: Any


class Bounds(NamedTuple):
    """How much a process takes on: plain handlers at once, of these inline ones, and held deliveries."""

    handlers: int
    inline: int
    held: int


class Once:
    """One answer per message. ``deliver`` is the way in; ``usable_seconds`` is how long a signature can be used."""

    def __init__(
        self,
        settings: Settings,
        cache: Cache,
        answers: Answers,
        late: LateDelivery,
        bounds: Bounds,
        usable_seconds: int = 0,
    ) -> None:
        self._answers = answers
        self._cache = cache
        self._deliveries = settings.deliveries
        # A signature that is still good must not run its message again, nor may a delivery that is still to come.
        self._facts = Facts(cache, settings.deliveries, max(usable_seconds, _KEEP_SECONDS))
        self._heartbeat = Heartbeat(cache)
        self._runs = Runs(answers, bounds.handlers, bounds.inline)
        self._waiting = Waiting(cache, self._facts, self._heartbeat, self._events(), bounds.held)
        self._endings = Endings(answers, self._facts, self._waiting, late)
        self._running: dict[str, _Running] = {}
        self._claims = Claims(self._heartbeat)
        self._orphans = Orphans(cache, self._heartbeat, settings.tokens, self.unawaited, self.adopt)
        self._pulse = self._waiting.pulse
        self._pulse.add(every(BEAT_SECONDS, self._heartbeat.beat))
        self._pulse.add(every(BEAT_SECONDS, LOOP.look))
        self._pulse.add(every(BEAT_SECONDS, self._runs.tend))
        self._looking = Threads("orphans", 1)  # beside the pulse: thousands of messages may have to be published
        if cache.shared:
            self._pulse.add(every(LOOK_SECONDS, self._look_for_orphans))

    def start(self) -> None:
        """Look after what other processes leave behind, before the first message comes here, too."""
        self._pulse.start()

    def stop(self, seconds: float) -> None:
        """Bring what this process holds to its end, for at most ``seconds``, then cut what still runs."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up and self._has_work():
            time.sleep(_STOP_POLL_SECONDS)
        LOOP.cut(_CUT_SECONDS)
        self._orphans.publish()
        self._heartbeat.end()

    def deliver(self, delivery: Delivery) -> Answer | None:
        """Return the answer, None where the delivery is held or dropped: its caller is told by ``delivery.caller``."""
        self._pulse.start()
        caller, message = delivery.caller, delivery.message
        assert caller  # noqa: S101 (only a followed message has none)
        has_gone, key = caller.is_gone(), self._facts.key_of(message.identity)
        delivery.key, delivery.claim = key, self._claims.of_nobody() if has_gone else self._claims.mine()
        stands = self._facts.claim(key, delivery.claim)
        is_first = stands == delivery.claim and not self._has(key)
        if not is_first:
            delivery.number = self._facts.count(key, delivery.claim)
        delivery.is_last = delivery.number >= self._deliveries or (not is_first and self._is_old(key, stands))
        delivery.owner = owner_of(stands)
        if has_gone:  # it stood in a queue until WeChat hung up; what WeChat delivers next can still be answered
            delivery.drop("stale")
            delivery.claim = self._claims.mine()
            self._waiting.follow_unseen(delivery)
            return None
        return self._run(delivery) if is_first else self._join(delivery)

    def _join(self, delivery: Delivery) -> Answer | None:
        """Take the answer that its owner makes, now or when it is known."""
        caller, decided = delivery.caller, self._endings.decided(delivery.key)
        may_carry = decided == LATE or delivery.can_carry(time.monotonic())
        if decided and may_carry and caller and not caller.is_gone():
            return self._endings.taken(delivery, decided)
        if not decided and self._waiting.is_dead(delivery.owner):
            return self._take_over(delivery)
        if self._waiting.hold(delivery) and (decided := self._endings.decided(delivery.key)):  # it may be known since
            self._endings.settle_one(delivery, decided)
        return None

    def _run(self, delivery: Delivery) -> Answer | None:
        """Run the handler: inline where the delivery is still in its request and is not the last, else beside."""
        now, key, is_in_request = time.time(), delivery.key, delivery.is_in_request
        # The last delivery may come to this process and die with it: orphans.py must have said so before.
        awaited_seconds = 0 if delivery.is_last else DELIVERY_SECONDS * (self._deliveries - 1) - _SAID_BEFORE_SECONDS
        self._running[key] = _Running(now, now + awaited_seconds, delivery.message)
        delivery.handler = delivery.message.row.name
        try:
            place = self._enter(delivery)
            if place == INLINE:
                return self._inline(delivery, self._runs.inline)
            delivery.owner = self._heartbeat.name
            if is_in_request:
                self._keep(delivery, place)
            self._runs.start(delivery.message, place, functools.partial(self._ended, delivery))
        except Busy:
            if is_in_request and delivery.is_in_request:
                return self._inline(delivery, self._answers.busy)
            self._ended(delivery, self._answers.busy(delivery.message))
        return None

    def _enter(self, delivery: Delivery) -> str:
        if delivery.is_in_request and self._waiting.is_full:
            self._waiting.complain("as many deliveries are held as max-fd allows; a new message is answered as busy")
            raise Busy
        return self._runs.enter(delivery.message, may_be_inline=delivery.is_in_request and not delivery.is_last)

    def _keep(self, delivery: Delivery, place: str) -> None:
        """Hold the delivery whose handler is about to run at ``place``. Raises Busy where that cannot be done."""
        try:
            self._waiting.keep(delivery)
        except OSError as error:
            self._runs.leave(delivery.message, place)
            self._waiting.complain(f"a new message cannot be held, and is answered as busy: {error}")
            raise Busy from error

    def _inline(self, delivery: Delivery, run: Callable[[Any], Answer]) -> Answer | None:
        try:
            return self._endings.inline(delivery, run(delivery.message))
        except BaseException:
            self._facts.unclaim(delivery.key)  # nobody runs it any more: let the next delivery
            raise
        finally:
            self._running.pop(delivery.key, None)

    def _ended(self, delivery: Delivery, answer: Answer | None) -> None:
        """End a run beside the requests; None is the answer of one that was cut or broke off."""
        if answer is not None:
            self._endings.beside(delivery, answer)
        elif LOOP.is_cut:  # with its process: who comes next sees that it has died
            return
        else:
            self._facts.unclaim(delivery.key)
        self._running.pop(delivery.key, None)

    def _take_over(self, delivery: Delivery) -> Answer | None:
        """Claim the next run after the owner of ``delivery`` has died, unless somebody has."""
        while delivery.caller or delivery.generation <= self._deliveries + 1:
            delivery.generation += 1
            stands = self._facts.claim_again(delivery.key, delivery.generation, delivery.claim)
            if stands == delivery.claim and not self._has(delivery.key):
                if delivery.caller:
                    return self._run(delivery)
                self._bring_up(delivery)
                return None
            delivery.owner = owner_of(stands)
            if not self._waiting.is_dead(delivery.owner):
                if delivery.is_in_request:
                    self._waiting.hold(delivery)
                return None
        self._waiting.remove(delivery)  # too many have died with it
        return None

    def _events(self) -> Events:
        """Return what is done about who waits: in other threads, since cache and network come next."""

        def beside(call: Callable[..., object]) -> Callable[..., None]:
            return lambda *args: self._runs.resume(functools.partial(call, *args))

        return Events(
            decided=beside(lambda key, decided: self._endings.settle(key, decided)),
            out_of_time=beside(lambda delivery: self._endings.give_up(delivery)),
            hung_up=beside(self._hung_up),
            still_there=beside(self._still_there),
            owner_died=self._owner_died,
        )

    def _hung_up(self, delivery: Delivery) -> None:
        if delivery.is_last:
            self._endings.give_up(delivery)
        else:
            self._waiting.follow_unseen(delivery)

    def _still_there(self, delivery: Delivery) -> None:
        if decided := self._endings.decided(delivery.key):
            self._endings.settle_one(delivery, decided)

    def _owner_died(self, delivery: Delivery) -> None:
        if delivery.caller is None and not self._runs.has_room_beside():
            return  # it is asked again in a second; what no caller waits for leaves the room to others
        delivery.owner = self._heartbeat.name  # which no look takes for dead again
        self._runs.resume(functools.partial(self._succeed, delivery))

    def _succeed(self, delivery: Delivery) -> None:
        """Take over from an owner who has ended, unless its answer was the last that it made known."""
        if delivery.caller and (decided := self._endings.decided(delivery.key)):
            self._endings.settle_one(delivery, decided)
        else:
            self._take_over(delivery)

    def adopt(self, key: str, fields: Fields) -> None:
        """Bring a message to its end whose process has died."""
        if not self._has(key):
            self._waiting.follow(key, self._answers.revive(fields), self._claims.mine(), NOBODY)

    def _bring_up(self, followed: Delivery) -> None:
        self._waiting.remove(followed)
        decided = self._facts.decided(followed.key)
        if decided is None or decided == LATE:
            logger.warning("a process died with a message that no delivery waits for; its handler runs again")
            self._run(followed)
        elif decided.kind == "waiting":
            self._endings.conclude(followed, Answer(decided.body, "late"), decided)

    def _look_for_orphans(self) -> None:
        if not len(self._looking):
            self._looking.start_some_time(self._orphans.look)

    def unawaited(self) -> dict[str, Fields]:
        """Return the fields, by key, of the messages here for which one more delivery may come at most."""
        now, running = time.time(), list(self._running.items())
        found = {key: one.message.fields for key, one in running if one.awaited_until <= now}
        found |= {key: message.fields for key, message in self._endings.uncarried().items()}
        return found | {one.key: one.message.fields for one in self._waiting.followed()}

    def _has(self, key: str) -> bool:
        """Return whether the message is in this process's hands, whatever the cache remembers."""
        return key in self._running or self._endings.has(key)

    def _has_work(self) -> bool:
        # Answers that wait for the next delivery are found in the cache, by it or by another process.
        is_alone = not (self._cache.shared and self._orphans.has_others())
        return bool(len(self._waiting) or self._runs.beside or self._endings.sending) or (
            is_alone and bool(self._endings.uncarried())
        )

    def _is_old(self, key: str, claim: str) -> bool:
        """Tell whether the message is so old that this must be the last delivery, though others were not counted."""
        since = since_of(claim)
        if running := self._running.get(key):
            since = min(since, running.since)
        return time.time() - since > DELIVERY_SECONDS * (self._deliveries - 1) - 0.5
