"""The road of a message, from the signed request to the reply, top to bottom."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import log
from app import metrics
from app.cache import Cache
from app.callback.handle import AnswerMaker, Wording
from app.callback.middleware import Around
from app.callback.seal import Seal, seal_reply
from app.callback.signature import Verifier
from app.callback.unseal import Opened, Opener
from app.config import Settings
from app.errors import BadMessage
from app.once.answer import Answer, SendLate
from app.once.caller import Reply, kind_of_caller
from app.once.held import Delivery
from app.once.late import LateDelivery
from app.once.machine import Bounds, Once
from app.table.dispatch import Table

_SILENCE = Reply(b"success", "text/plain")


class Road:
    """The steps, wired for one account. ``receive`` is the road.

    ``around`` goes on around each handler; ``context`` is what a handler needs that runs in no request.
    """

    def __init__(
        self,
        settings: Settings,
        cache: Cache,
        table: Table,
        bounds: Bounds,
        *,
        send_late: SendLate | None = None,
        around: Sequence[Around] = (),
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._verifier = Verifier(settings.tokens, settings.max_skew_seconds, cache)
        seals = tuple(Seal(key, settings.appid) for key in settings.encoding_aes_keys)
        self._opener = Opener(settings.encrypt_mode, self._verifier, seals)
        self._late = LateDelivery(settings, cache, Wording(settings), send_late)
        self._answers = AnswerMaker(settings, cache, table, self._late, around, context)
        self._once = Once(settings, cache, self._answers, self._late, bounds, self._verifier.usable_seconds)
        self._caller = kind_of_caller()

    def start(self) -> None:
        """Look after what other processes leave behind, before the first message comes here, too."""
        self._once.start()

    def stop(self, seconds: float) -> None:
        """Bring what this process holds to its end, for at most ``seconds``."""
        self._once.stop(seconds)

    def verify(self, query: Mapping[str, str]) -> str:
        """Answer the account's configuration page: return ``echostr``. Raises BadSignature or BadMessage."""
        self._verifier.verify(query, time.time())
        self._verifier.claim(query["signature"], b"")
        if "echostr" not in query:
            raise BadMessage("no echostr")
        return query["echostr"]

    def receive(
        self, query: Mapping[str, str], body: bytes, environ: Mapping[str, Any], waited_seconds: float = 0.0
    ) -> Reply | None:
        """Return the reply to a delivery; None where its connection is held, or has ended without one.

        ``waited_seconds`` is how long the delivery stood in a queue before. Raises BadSignature, BadCiphertext or
        BadMessage for what WeChat did not send.
        """
        arrived = time.monotonic() - waited_seconds
        opened = self._opener.open(query, body, time.time())
        message = self._answers.begin(opened.fields, arrived)
        ending = _Ending(message, opened)
        caller = self._caller(ending, environ)
        delivery = Delivery(message, caller, arrived)
        answer = self._once.deliver(delivery) or caller.wait()
        if answer is None:
            return None
        ending.note(delivery.number, answer)
        return ending.reply(answer)

    def kept_of(self, openid: str) -> tuple[dict[str, Any], int]:
        """Return the fan's session, and how many answers wait for them."""
        return self._answers.session_of(openid).data, self._late.waiting(openid)

    def forget(self, openid: str) -> None:
        """Forget the fan's session and the answers that wait for them."""
        self._answers.forget(openid)


class _Ending:
    """The end of the road, for one delivery: reached in its request, or when its held connection is answered."""

    def __init__(self, message: Any, opened: Opened) -> None:
        self._message = message
        self._opened = opened

    def reply(self, answer: Answer) -> Reply:
        """Return the reply's XML, sealed where the message came sealed, or WeChat's word for silence."""
        xml, seal = answer.body, self._opened.seal
        if not xml:
            return _SILENCE
        if seal:
            xml = seal_reply(seal, self._opened.token, xml, int(time.time()))
        return Reply(xml.encode(), "application/xml; charset=utf-8")

    def note(self, number: int, answer: Answer) -> None:
        """Count the delivery, and write its line in the log."""
        message = self._message
        metrics.count_delivery(number, answer.outcome)
        log.message(
            {
                "type": message.msg_type,
                "event": message.event,
                "openid": log.masked(message.openid),
                "handler": answer.handler,
                "ms": round((time.monotonic() - message.arrived) * 1000, 1),
                "delivery": number,
                "outcome": answer.outcome,
            }
        )
