"""Look after who waits: hold deliveries, see who hangs up, what other processes decided, and who of them died."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import log
from app.cache import Cache
from app.metrics import HELD
from app.once.facts import Decision, Facts, decision
from app.once.held import DOUBT_SECONDS, HELD_SECONDS, Delivery, Held
from app.once.liveness import Deaths, Heartbeat
from app.once.pulse import LONGEST_SLEEP_SECONDS, Pulse, Task, guarded

_SEEN_SECONDS = 0.1
_LOOKS_WITHOUT_BEAT = 20
_FOLLOWED_EVERY_SECONDS = 1.0
_FOLLOWED_SECONDS = 600
NOBODY = ""
# What no delivery has come for after so long is taken on without one.
NEXT_DELIVERY_SECONDS = 6
_FULL_SAID_EVERY_SECONDS = 10.0
logger = logging.getLogger("wechat")


class Events(NamedTuple):
    """What happens to who waits; each is called in the thread of the pulse, and must not keep it.

    ``decided(key, decision)``: another process knows the answer; ``out_of_time(delivery)``: the last delivery must be
    answered now; ``hung_up(delivery)``: its caller has gone, it is no longer held; ``still_there(delivery)``: its
    caller is slower than WeChat; ``owner_died(delivery)``, of a held or a followed one.
    """

    decided: Callable[[str, Decision], object]
    out_of_time: Callable[[Delivery], object]
    hung_up: Callable[[Delivery], object]
    still_there: Callable[[Delivery], object]
    owner_died: Callable[[Delivery], object]


class Waiting:
    """The held deliveries of a process, at most ``most``, and the messages that it follows without a caller."""

    def __init__(self, cache: Cache, facts: Facts, heartbeat: Heartbeat, events: Events, most: int) -> None:
        self._cache = cache
        self._facts = facts
        self._heartbeat = heartbeat
        self._events = events
        self._most = most
        self._deaths = Deaths(_LOOKS_WITHOUT_BEAT)
        self._held = Held()
        self._full = log.Flood(1, _FULL_SAID_EVERY_SECONDS)
        self._keeping = threading.Lock()
        self._looked_at = 0.0
        self.pulse = Pulse(self._hung_up)
        self.pulse.add(Task(self._held.next_time, self._tend_due))
        self.pulse.add(Task(self._next_look, self._look))

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_full(self) -> bool:
        """Whether no more deliveries can be held."""
        return len(self._held) >= self._most

    def hold(self, delivery: Delivery) -> bool:
        """Hold a delivery until it is answered or dropped; where that cannot be done, drop it and return False."""
        caller = delivery.caller
        assert caller  # noqa: S101 (what is only followed is not held)
        try:
            self.keep(delivery)
        except OSError as error:
            self.complain(f"a delivery cannot be held, WeChat delivers it again: {error}")
            delivery.is_in_request = False
            delivery.drop("not held")
            self.follow_unseen(delivery)
            return False
        return True

    def complain(self, what: str) -> None:
        """Say in the log that no more can be held; it would be said for every message."""
        if (unsaid := self._full.unsaid()) is not None:
            logger.error("%s%s", what, f" ({unsaid} more since the line before)" if unsaid else "")

    def keep(self, delivery: Delivery) -> None:
        """Hold a delivery; raises OSError where that cannot be done, and it is still in its request."""
        caller = delivery.caller
        assert caller  # noqa: S101 (what is only followed is not held)
        longest = HELD_SECONDS if caller.is_seen else DOUBT_SECONDS
        wakes_at = delivery.answer_by if delivery.is_last else delivery.arrived + longest
        with self._keeping:  # one at a time, or all who look at once find the last place free
            if self.is_full:
                raise OSError(f"{self._most} are held, as many as max-fd allows")
            descriptor = caller.hold()
            if descriptor >= 0:  # before anybody can answer it, and close the connection
                try:
                    self.pulse.watch(descriptor)
                except OSError:
                    caller.let_go()
                    raise
            delivery.descriptor, delivery.is_in_request = descriptor, False
            self._held.add(delivery, wakes_at)
        HELD.set(len(self._held))
        if caller.is_gone() and self._held.on(delivery.descriptor) is delivery:  # before it was watched
            self._hung_up(delivery.descriptor)
        self._wake(wakes_at, delivery.owner)

    def remove(self, delivery: Delivery) -> bool:
        """Take a held delivery out, to answer or to drop it; return False where somebody else has."""
        if not self._held.remove(delivery):
            return False
        if delivery.descriptor >= 0:
            self.pulse.unwatch(delivery.descriptor)
        HELD.set(len(self._held))
        return True

    def of(self, key: str) -> list[Delivery]:
        """Return who waits for the answer to this message."""
        return [one for one in self._held.of(key) if one.caller]

    def doubt(self, delivery: Delivery) -> None:
        """Wait until it is known whether the caller has hung up."""
        self._held.wake_at(delivery, delivery.arrived + DOUBT_SECONDS)

    def follow(
        self, key: str, message: Any, claim: str, owner: str, generation: int = 1, after_seconds: float = 0
    ) -> None:
        """Follow a message without a caller until somebody carries its answer, its owner lives, or has died."""
        followed = Delivery(message, None, time.monotonic())
        followed.key, followed.claim, followed.owner, followed.generation = key, claim, owner, generation
        followed.is_last = True
        self._held.add(followed, followed.arrived + after_seconds)
        self.pulse.wake()

    def follow_unseen(self, delivery: Delivery) -> None:
        """Take the message on, where its owner may be dead: no other delivery may come to see that."""
        owner = delivery.owner
        if owner == self._heartbeat.name or self._deaths.has_seen_alive(owner):
            return
        # What nobody has begun is left to the next delivery, which can still be answered in time.
        after_seconds = NEXT_DELIVERY_SECONDS if owner == NOBODY and not delivery.is_last else 0
        self.follow(delivery.key, delivery.message, delivery.claim, owner, delivery.generation, after_seconds)

    def followed(self) -> list[Delivery]:
        """Return the messages that are followed without a caller."""
        return self._held.followed()

    def is_dead(self, owner: str) -> bool:
        """Return whether an owner surely has died; others are looked at for a while."""
        return owner == NOBODY or (not self._cache.shared and owner != self._heartbeat.name)

    def _wake(self, wakes_at: float, owner: str) -> None:
        now = time.monotonic()
        is_new_look = owner != self._heartbeat.name and self._looked_at < now - _SEEN_SECONDS
        if wakes_at < now + LONGEST_SLEEP_SECONDS or is_new_look:
            self.pulse.wake()

    def _hung_up(self, descriptor: int) -> None:
        delivery = self._held.on(descriptor)
        caller = delivery and delivery.caller
        # The number may be that of another connection since the event came.
        if delivery and caller and caller.is_gone() and self.remove(delivery):
            delivery.drop("waited")
            self._events.hung_up(delivery)

    def _tend_due(self) -> None:
        now = time.monotonic()
        for delivery in self._held.due(now):
            guarded(self._tend, delivery, now)  # one that fails must not cost the others their time

    def _tend(self, delivery: Delivery, now: float) -> None:
        if delivery.caller is None:
            self._tend_followed(delivery, now)
        elif now >= delivery.arrived + HELD_SECONDS or not (delivery.caller.is_seen or delivery.is_last):
            self._drop(delivery, now)
        elif delivery.is_last:
            self._events.out_of_time(delivery)
        else:
            self._held.wake_at(delivery, delivery.arrived + HELD_SECONDS)
            self._events.still_there(delivery)

    def _drop(self, delivery: Delivery, now: float) -> None:
        if delivery.caller and self.remove(delivery):
            if now >= delivery.arrived + HELD_SECONDS:
                logger.warning("a delivery is dropped that was held for %.0f s without an answer", HELD_SECONDS)
            delivery.drop("waited")
            self._events.hung_up(delivery)

    def _tend_followed(self, followed: Delivery, now: float) -> None:
        if self._facts.is_carried(followed.key) or now > followed.arrived + _FOLLOWED_SECONDS:
            self._held.remove(followed)
            return
        self._held.wake_at(followed, now + _FOLLOWED_EVERY_SECONDS)
        if self.is_dead(followed.owner):
            self._events.owner_died(followed)

    def _next_look(self) -> float:
        return self._looked_at + _SEEN_SECONDS if self._cache.shared and self._held.has_any else math.inf

    def _look(self) -> None:
        """Look once for all that other processes make: the answers, and whether these processes live."""
        self._looked_at = time.monotonic()
        waiting = self._held.elsewhere(self._heartbeat.name)
        keys = sorted({one.key for one in waiting if one.caller})
        owners = sorted({one.owner for one in waiting})
        answers = map(self._facts.answer_key, keys)
        found = self._cache.get_many(*answers, *map(self._heartbeat.key_of, owners)) if waiting else None
        if found is None:  # nothing to look for, or a cache that is down, by which nobody is judged
            self._deaths.clear()
            return
        for key, text in zip(keys, found, strict=False):
            if found_decision := decision(text):
                self._events.decided(key, found_decision)
        dead = self._deaths.dead(dict(zip(owners, found[len(keys) :], strict=True)))
        for one in waiting:
            if one.owner in dead:
                self._events.owner_died(one)
            elif one.caller is None and self._deaths.has_seen_alive(one.owner):
                self._held.remove(one)  # its owner will have said that it would be an orphan
