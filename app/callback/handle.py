"""Step 4: run the message's handler and render what it returns. Nothing that a handler does gets past this."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any

from wechatpy.replies import BaseReply, deserialize_reply

from app.cache import Cache
from app.callback.middleware import Around, compose
from app.callback.parse import parse
from app.callback.render import render
from app.callback.session import Session
from app.config import Settings
from app.errors import BadReply
from app.once.answer import ANSWER_SECONDS, Answer
from app.once.forked import in_this_process
from app.once.late import LateDelivery
from app.once.loop import OnLoop
from app.table.dispatch import Table, row_for

_PICKUP_MARGIN_SECONDS = 0.5
logger = logging.getLogger("wechat")


class Wording:
    """What a fan gets of an answer that is late."""

    def __init__(self, settings: Settings) -> None:
        self._hold_reply = settings.hold_reply

    def hold_reply(self, message: Any) -> str:
        """Return the XML that tells the fan to say the pickup word later."""
        return render(self._hold_reply, message, int(time.time()))

    def to_pick_up(self, message: Any, answer: Answer) -> str:
        """Return the answer as XML that answers a text, which takes one article where an event takes eight."""
        if answer.value is None:
            return answer.body
        return render(answer.value, message, int(time.time()), answers_event=False)


def _own(value: Any) -> Any:
    """Return a copy of what a handler returned: a late answer is rendered again, when the original may have changed."""
    if not isinstance(value, list | tuple | BaseReply):
        return value
    try:
        return deepcopy(value)
    except Exception:  # of something in it that cannot be copied; what WeChat takes can
        return value


class AnswerMaker:
    """Makes the answer to a message, inside ``around``; ``context`` is what a handler needs outside a request."""

    def __init__(
        self,
        settings: Settings,
        cache: Cache,
        table: Table,
        late: LateDelivery,
        around: Sequence[Around],
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._settings = settings
        self._word = settings.pickup_word.strip()
        self._cache = cache
        self._table = table
        self._late = late
        self._chain = compose(around, self._answer)
        self._chain_of_busy = compose(around, self._busy)
        self.context = context

    def begin(self, fields: Any, arrived: float) -> Any:
        """Return the message that begins with these fields; ``arrived`` is monotonic. Raises BadMessage."""
        message = parse(fields)
        message.begin(self._table.find(message), self.session_of(message.openid), arrived, self._word)
        return message

    def revive(self, fields: dict[str, Any]) -> Any:
        """Return the message of another process that these fields are."""
        message = self.begin(fields, 0.0)
        age_seconds = max(time.time() - message.asked, 0.0) if message.asked else ANSWER_SECONDS
        message.arrived = time.monotonic() - age_seconds
        return message

    def session_of(self, openid: str) -> Session:
        """Return the fan's session."""
        return Session(self._cache.fans, openid, self._settings.session_seconds)

    async def answer(self, message: Any) -> Answer:
        """Return the answer: the handler's, one that was waiting for the fan, or what stands in for it."""
        answer: Answer = await self._chain(message)
        return answer

    def busy(self, message: Any) -> Answer:
        """Return the answer to a message whose handler cannot run now."""
        try:
            self._chain_of_busy(message).__await__().send(None)
        except StopIteration as ended:
            answer: Answer = ended.value
            return answer
        raise AssertionError("nothing in it waits")

    def value_of(self, body: str) -> Any:
        """Return what a handler could have returned to be answered with this XML."""
        reply = deserialize_reply(body)
        return reply.content if reply.type == "text" else reply

    def forget(self, openid: str) -> None:
        """Forget the fan's session and the answers that wait for them."""
        self.session_of(openid).delete()
        self._late.forget(openid)

    async def _answer(self, message: Any) -> Answer:
        if message.is_pickup and (collected := await self._late.collect(message, self._may_wait(message))):
            return collected
        began, has_returned = time.perf_counter(), False
        try:
            value = in_this_process(message.row.call, message)
            if message.row.is_async:
                value = await OnLoop(value)
            value = _own(value)
            seconds, has_returned = time.perf_counter() - began, True
            xml = render(value, message, int(time.time()))
            message.save_session(lambda: self._late.has_left(message))
            return self._answered(value, xml, message, seconds)
        except BadReply as error:
            logger.error("%s, on message %s: %s", message.row.name, message.label, error, exc_info=not has_returned)
        except BaseException as error:  # SystemExit and asyncio's CancelledError are none of Exception's
            if isinstance(error, GeneratorExit) and message.row.is_async:  # the run was cut
                raise
            logger.exception("%s failed on message %s", message.row.name, message.label)
        finally:
            for openid in message.leaving:
                self.forget(openid)
        return self._instead(self._settings.error_reply, message, "failed", time.perf_counter() - began)

    async def _busy(self, message: Any) -> Answer:
        return self._instead(self._settings.busy_reply, message, "busy", 0.0)

    def _answered(self, value: Any, xml: str, message: Any, seconds: float) -> Answer:
        if message.row.handler is None and not xml:
            logger.warning("no row of HANDLERS takes this message; to answer it, add: %s", row_for(message))
        outcome = "replied" if xml else "unhandled" if message.row.handler is None else "silent"
        return Answer(xml, outcome, message.row.name, value, seconds)

    def _instead(self, text: str, message: Any, outcome: str, seconds: float) -> Answer:
        return Answer(render(text, message, int(time.time())), outcome, message.row.name, text, seconds)

    def _may_wait(self, message: Any) -> float:
        return max(float(message.deadline) - _PICKUP_MARGIN_SECONDS, 0.0)
