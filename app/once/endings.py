"""What becomes of an answer: which deliveries get it, and who carries it when none can."""

import math
import time
from typing import Any, NamedTuple

from app.once.answer import Answer, Answers
from app.once.facts import LATE, Decision, Facts
from app.once.held import Delivery
from app.once.late import LateDelivery
from app.once.pulse import Task, every
from app.once.threads import Threads
from app.once.waiting import NEXT_DELIVERY_SECONDS, Waiting

_TENDED_EVERY_SECONDS = 1.0
_MOST_LATE = 100


class _Uncarried(NamedTuple):
    """An answer that nobody could take when it was ready; a late delivery carries it from ``due`` (monotonic) on."""

    due: float
    message: Any
    answer: Answer
    claim: str


class Endings:
    """Brings answers to the deliveries that wait in this process, or to a late delivery."""

    def __init__(self, answers: Answers, facts: Facts, waiting: Waiting, late: LateDelivery) -> None:
        self._answers = answers
        self._facts = facts
        self._waiting = waiting
        self._late = late
        self._uncarried: dict[str, _Uncarried] = {}
        self._tended_at = 0.0
        self._sending = Threads("late", _MOST_LATE)
        waiting.pulse.add(Task(self._next_uncarried, self._tend_uncarried))
        waiting.pulse.add(every(_TENDED_EVERY_SECONDS, self._sending.tend))

    @property
    def sending(self) -> int:
        """How many late deliveries are under way."""
        return len(self._sending)

    def uncarried(self) -> dict[str, Any]:
        """Return the messages, by key, whose answers nobody carries yet."""
        return {key: one.message for key, one in list(self._uncarried.items())}

    def has(self, key: str) -> bool:
        """Return whether the answer to this message is here, and nobody carries it yet."""
        return key in self._uncarried

    def inline(self, delivery: Delivery, answer: Answer) -> Answer | None:
        """End a run in the request of ``delivery``: return its answer, if its caller surely listens."""
        caller, now = delivery.caller, time.monotonic()
        assert caller  # noqa: S101 (a request has one)
        has_gone = caller.is_gone()
        listens = not has_gone and delivery.can_carry(now)
        ours = Decision("reply" if listens else "waiting", answer.body)
        decided = self._decide(delivery, answer, ours)
        self.settle(delivery.key, decided)
        if listens and decided == ours:
            return answer
        self.conclude(delivery, answer, decided)
        if listens:  # another run was quicker, or the answer is late
            return self.taken(delivery, decided)
        if has_gone or not delivery.is_in_doubt(now):
            delivery.drop("waited")
        elif self._waiting.hold(delivery):
            self.settle_one(delivery, decided)
        return None

    def beside(self, delivery: Delivery, answer: Answer) -> None:
        """End a run beside the requests."""
        ours = Decision("waiting", answer.body)
        decided = self._decide(delivery, answer, ours)
        if not self.settle(delivery.key, decided, delivery, answer):
            self.conclude(delivery, answer, decided)

    def conclude(self, delivery: Delivery, answer: Answer, decided: Decision) -> None:
        """See to an answer that nobody could take when it was ready."""
        if decided == LATE:
            self._send(delivery.key, delivery.message, answer, delivery.claim)
        elif decided.kind == "waiting":  # also another run's, whose process may have left it to this one and ended
            self._keep(delivery, answer)

    def give_up(self, delivery: Delivery) -> None:
        """Let the answer be late: the last delivery is out of time, or its caller has hung up."""
        key, message = delivery.key, delivery.message
        self._late.expect(key, message)  # before it can be there
        decided = self._facts.decide(key, LATE)
        if decided != LATE:
            self._late.unexpect(key, message)
        self.settle(key, decided)
        if decided.kind != "reply":
            self._waiting.follow_unseen(delivery)

    def settle(self, key: str, decided: Decision, own: Delivery | None = None, answer: Answer | None = None) -> bool:
        """Answer all who wait for it here; return whether one of them carries it. ``answer`` is that of ``own``."""
        carrying = [self.settle_one(one, decided, answer if one is own else None) for one in self._waiting.of(key)]
        if any(carrying) and not all(carrying) and decided.kind == "waiting":
            self._facts.carry(key)  # one that could not be written to has given it back
        return any(carrying)

    def settle_one(self, delivery: Delivery, decided: Decision, answer: Answer | None = None) -> bool:
        """Answer a held delivery, or leave it while its caller may just have hung up; return whether it carries it."""
        caller, now = delivery.caller, time.monotonic()
        assert caller  # noqa: S101 (it is held)
        listens = decided == LATE or delivery.can_carry(now)
        if not listens and delivery.is_in_doubt(now):
            self._waiting.doubt(delivery)
            return False
        if not self._waiting.remove(delivery):
            return False
        if caller.is_gone() or not listens:
            delivery.drop("waited")
            if decided.kind != "reply":
                self._waiting.follow_unseen(delivery)
            return False
        taken = self._carried(delivery, decided, answer)
        is_sent = caller.reply(delivery.number, taken)
        is_carried = taken.outcome != "late"
        if is_carried and decided.kind == "waiting":
            self._note(delivery, taken, is_sent=is_sent)
        return is_carried and is_sent

    def taken(self, delivery: Delivery, decided: Decision) -> Answer:
        """Return what this delivery is answered with in its request."""
        taken = self._carried(delivery, decided)
        if taken.outcome != "late" and decided.kind == "waiting":
            self._facts.note_delivered(delivery.key)
        return taken

    def _note(self, delivery: Delivery, answer: Answer, *, is_sent: bool) -> None:
        """Note whether a delivery has brought the answer that it carries."""
        if is_sent:
            self._facts.note_delivered(delivery.key)
        else:
            self._facts.give_back(delivery.key)
            self._keep(delivery, answer)  # whoever made it may have seen it carried, and let it go

    def _carried(self, delivery: Delivery, decided: Decision, answer: Answer | None = None) -> Answer:
        """Return the answer, if this delivery may carry it, else what is said of one that is late."""
        if decided.kind == "reply" or (decided.kind == "waiting" and self._facts.carry(delivery.key)):
            return answer or Answer(decided.body, "repeated")
        return Answer(self._late.reply(delivery.message), "late")

    def _decide(self, delivery: Delivery, answer: Answer, ours: Decision) -> Decision:
        """Decide the answer; what the fan picked up with it waits no longer, unless it is late again."""
        decided = self._facts.decide(delivery.key, ours)
        if decided != LATE:
            self._late.given(delivery.message, answer)
        return decided

    def decided(self, key: str) -> Decision | None:
        """Return what was decided; a cache that lost an answer that waits here is told it again."""
        uncarried = self._uncarried.get(key)
        if uncarried is None:
            return self._facts.decided(key)
        return self._facts.decide(key, Decision("waiting", uncarried.answer.body))

    def _keep(self, delivery: Delivery, answer: Answer) -> None:
        """Keep an answer until a delivery carries it, or the late delivery after the time for the next one."""
        if answer.value is None and answer.body:
            answer = answer._replace(value=self._answers.value_of(answer.body))
        due = time.monotonic() + NEXT_DELIVERY_SECONDS
        self._uncarried[delivery.key] = _Uncarried(due, delivery.message, answer, delivery.claim)

    def _next_uncarried(self) -> float:
        return self._tended_at + _TENDED_EVERY_SECONDS if self._uncarried else math.inf

    def _tend_uncarried(self) -> None:
        """Let late deliveries carry the answers for which no delivery has come."""
        self._tended_at = time.monotonic()
        for key, one in list(self._uncarried.items()):
            decided = self.decided(key)
            if time.monotonic() >= one.due or decided is None or decided.kind != "waiting":
                self._uncarried.pop(key, None)
                if decided and decided.kind == "waiting":
                    self._send(key, one.message, one.answer, one.claim)

    def _send(self, key: str, message: Any, answer: Answer, claim: str) -> None:
        def send() -> None:
            if self._facts.carry(key, claim):
                self._late.deliver(key, message, answer)

        self._sending.start_some_time(send)
