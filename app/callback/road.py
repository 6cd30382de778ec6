"""The road of a message, from the signed request to the reply, top to bottom."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import log
from app import metrics
from app.cache import Cache
from app.callback.delivery import ANSWER_SECONDS, DELIVERY_SECONDS, Rendezvous
from app.callback.dispatch import Table, as_python, handler_name, row_for
from app.callback.late import Answer, Late, SendLate
from app.callback.parse import parse
from app.callback.render import render
from app.callback.seal import Seal, seal_reply
from app.callback.session import Session
from app.callback.signature import Verifier
from app.callback.slots import Slots
from app.callback.unseal import Opener
from app.callback.wards import Wards
from app.callback.watch import Watch
from app.config import Settings
from app.errors import BadMessage, BadReply, Busy

_KEEP_SECONDS = 60
_ADOPT_SECONDS = 600
Note = Callable[[Any], None]
logger = logging.getLogger("wechat")


class Beside(NamedTuple):
    """What others do beside the road: send a late answer, and note each message before and after its handler.

    ``context`` is what a handler needs that no request of this process has brought.
    """

    send_late: SendLate | None = None
    arrived: Note | None = None
    handled: Note | None = None
    context: Callable[[], AbstractContextManager[object]] = nullcontext


class Road:
    """The steps, wired for one account. ``receive`` is the road; ``threads`` take requests in this process."""

    def __init__(
        self, settings: Settings, cache: Cache, table: Table, threads: int, beside: Beside | None = None
    ) -> None:
        self._beside = beside = beside or Beside()
        self._settings = settings
        self._cache = cache
        self._table = table
        self._slots = Slots(threads)
        self._verifier = Verifier(settings.tokens, settings.max_skew_seconds, cache)
        seals = tuple(Seal(key, settings.appid) for key in settings.encoding_aes_keys)
        self._opener = Opener(settings.encrypt_mode, self._verifier, seals)
        # A signature that is still good must not run its message again, nor may a delivery that is still to come.
        keep_seconds = max(self._verifier.usable_seconds, _KEEP_SECONDS)
        watch = Watch(cache)
        self._late = Late(settings, cache, watch, beside.send_late)
        self._rendezvous = Rendezvous(cache, watch, self._late, settings.deliveries, keep_seconds)
        self._wards = Wards(cache, watch, settings.tokens, self._rendezvous.unawaited, self._adopt)

    def start(self) -> None:
        """Look after what other processes leave behind, before the first message comes here, too."""
        self._wards.start()

    def verify(self, query: Mapping[str, str]) -> str:
        """Answer the account's configuration page: return ``echostr``. Raises BadSignature or BadMessage."""
        self._verifier.verify(query, time.time())
        self._verifier.claim(query["signature"], b"")
        if "echostr" not in query:
            raise BadMessage("no echostr")
        return query["echostr"]

    def receive(self, query: Mapping[str, str], body: bytes, waited_seconds: float = 0.0) -> str:
        """Return the answer to a delivery: the reply's XML, sealed where the message came sealed, or "" for silence.

        ``waited_seconds`` is how long the delivery stood in a queue before. Raises BadSignature, BadCiphertext or
        BadMessage for what WeChat did not send.
        """
        started, now = time.perf_counter() - waited_seconds, time.time()
        arrived = time.monotonic() - waited_seconds
        opened = self._opener.open(query, body, now)
        message = parse(opened.fields)
        self._wards.start()
        message._answer_by = arrived + ANSWER_SECONDS
        if waited_seconds >= DELIVERY_SECONDS:  # WeChat has hung up; what it delivers next can still be answered
            answer, delivery = Answer("", "stale"), self._rendezvous.note(message)
        else:
            answer, delivery = self._rendezvous.answer(message, self._handle_and_count, arrived)
        metrics.count_delivery(delivery, answer.outcome)
        _log_line(message, answer, delivery, started)
        if opened.seal and answer.xml:
            return seal_reply(opened.seal, opened.token, answer.xml, int(now))
        return answer.xml

    def kept_of(self, openid: str) -> tuple[dict[str, Any], int]:
        """Return the fan's session, and how many answers wait for them."""
        return Session(self._cache, openid, self._settings.session_seconds).data, self._late.waiting(openid)

    def forget(self, openid: str) -> None:
        """Forget the fan's session and the answers that wait for them."""
        Session(self._cache, openid, self._settings.session_seconds).delete()
        self._late.forget(openid)

    def _adopt(self, key: str, fields: dict[str, Any]) -> None:
        message = parse(fields)
        asked = str(fields.get("CreateTime"))
        age_seconds = max(time.time() - int(asked), 0.0) if asked.isdecimal() else 0.0
        message._answer_by = time.monotonic() - age_seconds + ANSWER_SECONDS
        handler, give_up = self._table.find(message), time.monotonic() + _ADOPT_SECONDS
        while not self._slots.has_room_beside(handler) and time.monotonic() < give_up:
            time.sleep(1)
        with self._beside.context():
            self._rendezvous.take_over(key, message, self._handle_and_count)

    def _handle_and_count(self, message: Any) -> Answer:
        answer = self._handle(message)
        if message._row is not None:
            metrics.count_run(as_python(message._row), answer.outcome, message._ran_seconds)
        arrived = message._answer_by - ANSWER_SECONDS
        metrics.count_message(message.msg_type, message.event, answer.outcome, time.monotonic() - arrived)
        return answer

    def _handle(self, message: Any) -> Answer:
        """Return the handler's answer, or what stands in for it. Nothing that a handler does gets past this."""
        _note(self._beside.arrived, message)
        if collected := self._late.collect(message):
            return collected
        name, has_returned, session = "-", False, Session(self._cache, message.openid, self._settings.session_seconds)
        try:
            message._row, handler = self._table.find_row(message)
            name = "-" if handler is None else handler_name(handler)
            message._session = session
            value = self._slots.call(handler, self._run, message)
            has_returned = True
            xml = render(value, message, int(time.time()))
            session.save(lambda: self._late.has_left(message))
        except Busy:
            return self._instead(self._settings.busy_reply, message, "busy", name)
        except BadReply as error:
            logger.error("%s, on message %s: %s", name, _message_id(message), error, exc_info=not has_returned)
        except BaseException:  # asyncio's CancelledError is none of Exception's
            logger.exception("%s failed on message %s", name, _message_id(message))
        else:
            if handler is None and not xml:
                logger.warning("no row of HANDLERS takes this message; to answer it, add: %s", row_for(message))
            return Answer(xml, "replied" if xml else "unhandled" if handler is None else "silent", name, value)
        finally:
            for openid in message.leaving:
                self.forget(openid)
            _note(self._beside.handled, message)
        return self._instead(self._settings.error_reply, message, "failed", name)

    def _run(self, handler: Any, message: Any) -> Any:
        began = time.perf_counter()
        try:
            return self._table.call(handler, message)
        finally:
            message._ran_seconds = time.perf_counter() - began

    def _instead(self, text: str, message: Any, outcome: str, name: str) -> Answer:
        return Answer(render(text, message, int(time.time())), outcome, name, text)


def _note(note: Note | None, message: Any) -> None:
    if note:
        try:
            note(message)
        except Exception:  # what is beside the road must not cost the answer
            logger.exception("message %s is not noted", _message_id(message))


def _log_line(message: Any, answer: Answer, delivery: int, started: float) -> None:
    log.message(
        {
            "type": message.msg_type,
            "event": message.event,
            "openid": log.masked(message.openid),
            "handler": answer.handler,
            "ms": round((time.perf_counter() - started) * 1000, 1),
            "delivery": delivery,
            "outcome": answer.outcome,
        }
    )


def _message_id(message: Any) -> str:
    return str(message.fields.get("MsgId") or f"{message.event} of {message.fields.get('CreateTime')}")
