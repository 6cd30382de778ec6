"""The road of a message, from the signed request to the reply, top to bottom."""

import logging
import time
from collections.abc import Mapping
from typing import Any

import log
from app.cache import Cache
from app.callback.delivery import Answer, Rendezvous
from app.callback.dispatch import Table, handler_name, row_for
from app.callback.parse import parse
from app.callback.render import render
from app.callback.seal import Seal, seal_reply
from app.callback.session import Session
from app.callback.signature import Verifier
from app.callback.unseal import Opener
from app.config import Settings
from app.errors import BadMessage, BadReply

_KEEP_SECONDS = 60
logger = logging.getLogger("wechat")


class Road:
    """The steps, wired for one account. ``receive`` is the road."""

    def __init__(self, settings: Settings, cache: Cache, table: Table) -> None:
        self._settings = settings
        self._cache = cache
        self._table = table
        self._verifier = Verifier(settings.tokens, settings.max_skew_seconds, cache)
        seals = tuple(Seal(key, settings.appid) for key in settings.encoding_aes_keys)
        self._opener = Opener(settings.encrypt_mode, self._verifier, seals)
        # A signature that is still good must not run its message again, nor may a delivery that is still to come.
        keep_seconds = max(self._verifier.usable_seconds, _KEEP_SECONDS)
        self._rendezvous = Rendezvous(cache, keep_seconds, settings.deliveries)

    def verify(self, query: Mapping[str, str]) -> str:
        """Answer the account's configuration page: return ``echostr``. Raises BadSignature or BadMessage."""
        self._verifier.verify(query, time.time())
        self._verifier.claim(query["signature"], b"")
        if "echostr" not in query:
            raise BadMessage("no echostr")
        return query["echostr"]

    def receive(self, query: Mapping[str, str], body: bytes) -> str:
        """Return the answer to a delivery: the reply's XML, sealed where the message came sealed, or "" for silence.

        Raises BadSignature, BadCiphertext or BadMessage for what WeChat did not send.
        """
        started, now = time.perf_counter(), time.time()
        opened = self._opener.open(query, body, now)
        message = parse(opened.fields)
        answer, delivery = self._rendezvous.answer(message, self._handle)
        _log_line(message, answer, delivery, started)
        if opened.seal and answer.xml:
            return seal_reply(opened.seal, opened.token, answer.xml, int(now))
        return answer.xml

    def _handle(self, message: Any) -> Answer:
        name, session = "-", Session(self._cache, message.openid, self._settings.session_seconds)
        try:
            handler = self._table.find(message)
            name = handler_name(handler) if handler else "-"
            message._session = session
            xml = render(self._table.call(handler, message), message, int(time.time()))
            session.save()
        except BadReply as error:
            logger.error("%s, on message %s: %s", name, _message_id(message), error)
        except (Exception, SystemExit):
            logger.exception("%s failed on message %s", name, _message_id(message))
        else:
            if not handler and not xml:
                logger.warning("no row of HANDLERS takes this message; to answer it, add: %s", row_for(message))
            return Answer(xml, "replied" if xml else "silent" if handler else "unhandled", name)
        finally:
            if message.event == "unsubscribe":
                session.delete()
        return Answer(render(self._settings.error_reply, message, int(time.time())), "failed", name)


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
