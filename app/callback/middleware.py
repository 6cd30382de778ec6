"""What goes on around every handler, in the order of one list: ``create_app`` has it."""

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from app import metrics
from app.once.answer import Answer

CallNext = Callable[[Any], Awaitable[Answer]]
Around = Callable[[Any, CallNext], Coroutine[Any, Any, Answer]]
"""``async def around(message, call_next)`` returns the answer; it awaits nothing but ``call_next(message)``."""
Note = Callable[[Any], object]
logger = logging.getLogger("wechat")


def before(note: Note) -> Around:
    """Call ``note(message)`` before each handler; when it fails, the answer does not."""

    async def noted(message: Any, call_next: CallNext) -> Answer:
        _try(note, message)
        return await call_next(message)

    return noted


def after(note: Note) -> Around:
    """Call ``note(message)`` after each handler; when it fails, the answer does not."""

    async def noted(message: Any, call_next: CallNext) -> Answer:
        answer = await call_next(message)
        _try(note, message)
        return answer

    return noted


async def counted(message: Any, call_next: CallNext) -> Answer:
    """Count the message by what came of it, and time its handler."""
    answer = await call_next(message)
    _try(lambda message: _count(message, answer), message)
    return answer


def _count(message: Any, answer: Answer) -> None:
    if answer.handler != "-":  # not what was picked up, nor what no row takes
        metrics.count_run(message.row.text, answer.outcome, answer.seconds)
    metrics.count_message(message.msg_type, message.event, answer.outcome, time.monotonic() - message.arrived)


def compose(around: Sequence[Around], innermost: CallNext) -> CallNext:
    """Return ``innermost`` inside all of ``around``, of which the first is outermost."""
    call = innermost
    for one in reversed(around):
        call = _wrapped(one, call)
    return call


def _wrapped(one: Around, call_next: CallNext) -> CallNext:
    return lambda message: one(message, call_next)


def _try(note: Note, message: Any) -> None:
    try:
        note(message)
    except Exception:  # what is beside the road must not cost the answer
        logger.exception("message %s is not noted", message.label)
