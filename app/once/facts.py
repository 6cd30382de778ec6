"""The facts of a message in the cache, each set once by whoever comes first. No clock."""

from typing import Any, NamedTuple

from app.cache import Cache, to_json, understood

# A message that kills its process must be known for longer than all who take it over take to die.
_GENERATION_SECONDS = 24 * 3600
_BY_DELIVERY, _DELIVERED = to_json("delivery"), to_json("delivered")


class Decision(NamedTuple):
    """What was decided of the answer: "reply", "waiting" or "late", and the answer's body, "" for "late"."""

    kind: str
    body: str = ""

    @property
    def text(self) -> str:
        """The decision as the cache holds it."""
        return f'["{self.kind}",{to_json(self.body)}]'  # quicker than a list's JSON


LATE = Decision("late")


def decision(text: str | None) -> Decision | None:
    """Return the decision that the cache holds as ``text``; None for nothing, and for what is none."""
    found = understood(text, _is_decision)
    return Decision(*found) if found else None


def _is_decision(value: Any) -> bool:
    kind, body = value
    return kind in ("reply", "waiting", "late") and isinstance(body, str)


class Facts:
    """What processes agree on about messages. ``key`` is what ``key_of`` returns."""

    def __init__(self, cache: Cache, deliveries: int, keep_seconds: int) -> None:
        self._cache = cache
        self._deliveries = deliveries
        self._keep_seconds = keep_seconds

    def key_of(self, identity: tuple[str, ...]) -> str:
        """Return the key of the message with this identity."""
        return self._cache.key("message", *identity)

    def claim(self, key: str, claim: str) -> str:
        """Claim the first run; return the claim that stands."""
        return self._cache.claim(key, claim, self._keep_seconds)

    def claim_again(self, key: str, generation: int, claim: str) -> str:
        """Claim run ``generation``, from 2 on, after the one before has died; return the claim that stands."""
        return self._cache.claim(f"{key}:run{generation}", claim, _GENERATION_SECONDS)

    def unclaim(self, key: str) -> None:
        """Forget the first claim: nobody runs the handler any more, and the next delivery shall."""
        self._cache.delete(key)

    def count(self, key: str, claim: str) -> int:
        """Count a further delivery and return its number; one more than there should be for all that are too many."""
        later = range(2, self._deliveries + 1)
        seconds = self._keep_seconds
        return next(
            (n for n in later if self._cache.claim(f"{key}:{n}", claim, seconds) == claim), self._deliveries + 1
        )

    def decide(self, key: str, decided: Decision) -> Decision:
        """Decide the answer; return the decision that stands."""
        text = decided.text
        stands = self._cache.claim(self.answer_key(key), text, self._keep_seconds)
        return decided if stands == text else decision(stands) or decided

    def decided(self, key: str) -> Decision | None:
        """Return what was decided, None where nothing was."""
        return decision(self._cache.get(self.answer_key(key)))

    def carry(self, key: str, by: str = "") -> bool:
        """Return whether the answer is carried by the late delivery ``by``, or without it by a delivery."""
        carrier = to_json(f"late {by}") if by else _BY_DELIVERY
        stands = self._cache.claim(f"{key}:carrier", carrier, self._keep_seconds)
        return stands == carrier or (not by and stands == _DELIVERED)

    def note_delivered(self, key: str) -> None:
        """Note that a delivery that carries the answer has brought it: no other one can give it back."""
        self._cache.set(f"{key}:carrier", _DELIVERED, self._keep_seconds)

    def give_back(self, key: str) -> None:
        """Give the answer back for somebody else to carry, unless another delivery has brought it."""
        if self._cache.get(f"{key}:carrier") != _DELIVERED:
            self._cache.delete(f"{key}:carrier")

    def is_carried(self, key: str) -> bool:
        """Return whether somebody carries the answer."""
        return self._cache.get(f"{key}:carrier") is not None

    def answer_key(self, key: str) -> str:
        """Return where the decision stands."""
        return f"{key}:answer"
