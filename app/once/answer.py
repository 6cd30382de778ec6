"""What passes between the road and this package: a message, its answer, and what the road does with both."""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

DELIVERY_SECONDS = 5.0
"""WeChat waits so long for an answer, then hangs up and delivers the message again."""
ANSWER_SECONDS = 4.5
"""A delivery answers within this time of its arrival, so that the answer reaches WeChat before it hangs up."""


class Answer(NamedTuple):
    """What a message is answered with: ``body`` is empty for silence; ``outcome`` and ``handler`` are for the log.

    ``value`` is what the handler returned, for the customer-service message; ``seconds`` is how long it ran.
    """

    body: str
    outcome: str
    handler: str = "-"
    value: Any = None
    seconds: float = 0.0


class Message(Protocol):
    """A fan's message. ``identity`` is what all its deliveries have in common; ``asked`` is in seconds since 1970.

    ``row`` is the handler's row: its ``name``, whether it ``is_async``, and whether it ``takes_thread`` nevertheless.
    ``fields`` can be kept as JSON.
    ``is_pickup`` tells whether it is the pickup word.
    """

    openid: str
    fields: Mapping[str, Any]
    row: Any
    is_pickup: bool

    @property
    def identity(self) -> tuple[str, ...]:
        """What all deliveries of this message, and no other message, say."""

    @property
    def asked(self) -> int:
        """When the fan sent it; 0 where that is not known."""


SendLate = Callable[[str, Any], object]
"""``send_late(openid, reply)`` sends what a handler returned, and raises when that failed for good."""


class Answers(Protocol):
    """How the road makes answers."""

    def answer(self, message: Any) -> Coroutine[Any, Any, Answer]:
        """Run the handler and return its answer; it suspends only to hand a coroutine to the event loop."""

    def busy(self, message: Any) -> Answer:
        """Return the answer to a message whose handler cannot run now."""

    def value_of(self, body: str) -> Any:
        """Return what a handler could have returned to be answered with ``body``."""

    def revive(self, fields: dict[str, Any]) -> Any:
        """Return the message that these fields are."""

    def context(self) -> AbstractContextManager[object]:
        """Return the application's context, for a handler that runs beside the requests."""


class Replies(Protocol):
    """How the road words what a fan gets of a late answer."""

    def hold_reply(self, message: Any) -> str:
        """Return the body that tells the fan to say the pickup word later."""

    def to_pick_up(self, message: Any, answer: Answer) -> str:
        """Return the answer as the body of an answer to the pickup word."""
