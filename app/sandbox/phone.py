"""A fan's phone and the server of WeChat behind it: signs, seals, delivers, and judges the answer as WeChat does."""

import random
import time
from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple

import requests

from app.callback import xml
from app.callback.seal import Seal
from app.callback.signature import sign
from app.errors import BadCallback, BadMessage
from app.sandbox.messages import ACCOUNT

DELIVERY_SECONDS = 5.0
DELIVERIES = 3
FAILURE_NOTICE = "该公众号提供的服务出现故障，请稍后再试"
_TEXT_LIMIT_BYTES = 2048
_ARTICLES_LIMIT = 8


class Outcome(NamedTuple):
    """What came of one message: what the fan sees ("" for nothing), and how it came about.

    ``reply`` is the reply's XML, unsealed; "" for silence, or where there is none.
    """

    shown: str
    answered: bool
    deliveries: int
    seconds: float
    reason: str = ""
    reply: str = ""


class Attempt(NamedTuple):
    """One delivery of a message: what went to the callback and what came back; ``status`` 0 where nothing did."""

    delivery: int
    query: dict[str, str]
    body: bytes
    seconds: float
    status: int = 0
    answer: bytes = b""
    reason: str = ""


Note = Callable[[Attempt], object]


class Phone:
    """One fan who writes to the callback at ``url``; ``seal`` is needed in the modes compatible and safe.

    Each message is signed ``age_seconds`` ago.
    """

    def __init__(
        self,
        url: str,
        token: str,
        openid: str,
        encrypt_mode: str = "normal",
        seal: Seal | None = None,
        *,
        age_seconds: int = 0,
    ) -> None:
        self._url = url
        self._age_seconds = age_seconds
        self._token = token
        self._openid = openid
        self._encrypt_mode = encrypt_mode
        self._seal = seal
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy between WeChat and the callback

    def __enter__(self) -> "Phone":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def headers(self) -> MutableMapping[str, str | bytes]:
        """What goes along with every delivery."""
        return self._http.headers

    def deliver(self, message: str, note: Note = lambda attempt: None) -> Outcome:
        """Deliver the XML ``message`` up to three times, 5 seconds each, and return what came of it.

        ``note`` gets each delivery when it has ended.
        """
        query, body = self.envelope(message)
        started, reason = time.monotonic(), ""
        for delivery in range(1, DELIVERIES + 1):
            attempt = self.attempt(query, body, delivery, note)
            if attempt.status == 200:
                return self.judge(attempt.answer, delivery, time.monotonic() - started)
            reason = attempt.reason
        return Outcome(FAILURE_NOTICE, False, DELIVERIES, time.monotonic() - started, reason)

    def attempt(self, query: dict[str, str], body: bytes, delivery: int, note: Note) -> Attempt:
        """Deliver once, as the ``delivery``-th, and return what came of it, after ``note`` got it."""
        started, status, answer = time.monotonic(), 0, b""
        try:
            response = self._http.post(self._url, params=query, data=body, timeout=DELIVERY_SECONDS)
        except requests.Timeout:
            reason = f"no answer within {DELIVERY_SECONDS:g} seconds"
        except requests.RequestException as error:
            reason = f"cannot connect ({type(error).__name__}); are the service and nginx running at {self._url}?"
        else:
            status, answer = response.status_code, response.content
            hint = "; its log has a line 'refused' that says why" if status in (400, 403) else ""
            reason = "" if status == 200 else f"the callback answered with status {status}{hint}"
        attempt = Attempt(delivery, query, body, time.monotonic() - started, status, answer, reason)
        note(attempt)
        return attempt

    def envelope(self, message: str) -> tuple[dict[str, str], bytes]:
        """Return the query and the body that carry the XML ``message``, freshly signed and sealed."""
        timestamp, nonce = str(int(time.time()) - self._age_seconds), str(random.randrange(10**9))  # noqa: S311 (as WeChat's, public)
        query = {"signature": sign(self._token, timestamp, nonce), "timestamp": timestamp, "nonce": nonce}
        query["openid"] = self._openid
        if self._encrypt_mode == "normal" or self._seal is None:
            return query, message.encode()
        encrypt = self._seal.seal(message.encode())
        query |= {"encrypt_type": "aes", "msg_signature": sign(self._token, timestamp, nonce, encrypt)}
        sealed = f"<Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>"
        if self._encrypt_mode == "compatible":
            return query, (message.strip().removesuffix("</xml>") + sealed).encode()
        return query, f"<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName>{sealed}".encode()

    def judge(self, body: bytes, delivery: int = 1, seconds: float = 0.0) -> Outcome:
        """Return what the fan sees of the answer ``body``: WeChat takes nothing that is not a whole reply."""
        if body in (b"", b"success"):
            return Outcome("", True, delivery, seconds)
        try:
            reply = self._opened(body)
            return Outcome(self._shown(xml.read_strictly(reply)), True, delivery, seconds, reply=reply.decode())
        except BadCallback as error:
            return Outcome(FAILURE_NOTICE, False, delivery, seconds, f"the answer is not a valid reply: {error}")

    def _shown(self, fields: xml.Fields) -> str:
        if fields.get("ToUserName") != self._openid:
            raise BadMessage(f"ToUserName is {fields.get('ToUserName')!r}, not the fan")
        if not str(fields.get("CreateTime")).isdigit() or not fields.get("FromUserName"):
            raise BadMessage("FromUserName or CreateTime is missing")
        show = _SHOWN.get(str(fields.get("MsgType")))
        if show is None:
            raise BadMessage(f"MsgType is {fields.get('MsgType')!r}")
        try:
            return show(fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise BadMessage(f"a part of the {fields['MsgType']} reply is missing ({error})") from error

    def _opened(self, body: bytes) -> bytes:
        if self._encrypt_mode == "normal":
            return body
        fields = xml.read_strictly(body)
        if self._seal is None or not isinstance(fields.get("Encrypt"), str):
            raise BadMessage("the reply is not sealed")
        signed = (str(fields.get("TimeStamp")), str(fields.get("Nonce")), fields["Encrypt"])
        if fields.get("MsgSignature") != sign(self._token, *signed):
            raise BadMessage("MsgSignature is wrong")
        return self._seal.unseal(fields["Encrypt"])


def _shown_text(fields: xml.Fields) -> str:
    if not fields["Content"] or len(fields["Content"].encode()) > _TEXT_LIMIT_BYTES:
        raise BadMessage(f"Content is empty or over {_TEXT_LIMIT_BYTES} bytes")
    return str(fields["Content"])


def _shown_news(fields: xml.Fields) -> str:
    items: Any = fields["Articles"]["item"]
    items = items if isinstance(items, list) else [items]
    if len(items) != int(fields["ArticleCount"]) or len(items) > _ARTICLES_LIMIT:
        raise BadMessage("ArticleCount is wrong, or over 8")
    return "\n".join(f"[图文] {item['Title']} {item.get('Url') or ''}".rstrip() for item in items)


# What the fan sees of each reply's type.
_SHOWN: dict[str, Callable[[xml.Fields], str]] = {
    "text": _shown_text,
    "news": _shown_news,
    "image": lambda fields: f"[图片] {fields['Image']['MediaId']}",
    "voice": lambda fields: f"[语音] {fields['Voice']['MediaId']}",
    "video": lambda fields: f"[视频] {fields['Video']['MediaId']}",
    "music": lambda fields: f"[音乐] {fields['Music'].get('Title') or fields['Music']['ThumbMediaId']}",
    "transfer_customer_service": lambda fields: "[转接客服]",
}
