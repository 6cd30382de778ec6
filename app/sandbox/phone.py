"""A fan's phone and the server of WeChat behind it: signs, seals, delivers, and judges the answer as WeChat does."""

import os
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import requests

from app.callback import xml
from app.callback.seal import Seal
from app.callback.signature import sign
from app.errors import BadCallback, BadMessage

DELIVERY_SECONDS = 5.0
DELIVERIES = 3
FAILURE_NOTICE = "该公众号提供的服务出现故障，请稍后再试"
ACCOUNT = "gh_7f083739789a"
_UPPER_CASE_EVENTS = {"click", "view", "scan", "location"}
_TEXT_LIMIT_BYTES = 2048
_ARTICLES_LIMIT = 8


class Outcome(NamedTuple):
    """What came of one message: what the fan sees ("" for nothing), and how it came about."""

    shown: str
    answered: bool
    deliveries: int
    seconds: float
    reason: str = ""


class Phone:
    """One fan who writes to the callback at ``url``; ``seal`` is needed in the modes compatible and safe."""

    def __init__(
        self, url: str, token: str, openid: str, encrypt_mode: str = "normal", seal: Seal | None = None
    ) -> None:
        self._url = url
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

    def deliver(self, message: str) -> Outcome:
        """Deliver the XML ``message`` up to three times, 5 seconds each, and return what came of it."""
        query, body = self.envelope(message)
        started, reason = time.monotonic(), ""
        for delivery in range(1, DELIVERIES + 1):
            try:
                response = self._http.post(self._url, params=query, data=body, timeout=DELIVERY_SECONDS)
            except requests.Timeout:
                reason = f"no answer within {DELIVERY_SECONDS:g} seconds"
            except requests.RequestException as error:
                reason = f"cannot connect ({type(error).__name__}); is the service running at {self._url}?"
            else:
                if response.status_code == 200:
                    return self.judge(response.content, delivery, time.monotonic() - started)
                hint = "; its log has a line 'refused' that says why" if response.status_code in (400, 403) else ""
                reason = f"the callback answered with status {response.status_code}{hint}"
        return Outcome(FAILURE_NOTICE, False, DELIVERIES, time.monotonic() - started, reason)

    def envelope(self, message: str) -> tuple[dict[str, str], bytes]:
        """Return the query and the body that carry the XML ``message``, freshly signed and sealed."""
        timestamp, nonce = str(int(time.time())), str(random.randrange(10**9))  # noqa: S311 (as WeChat's, public)
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
            return Outcome(self._shown(body), True, delivery, seconds)
        except BadCallback as error:
            return Outcome(FAILURE_NOTICE, False, delivery, seconds, f"the answer is not a valid reply: {error}")

    def _shown(self, body: bytes) -> str:
        fields = xml.read_strictly(body)
        if self._encrypt_mode != "normal":
            fields = self._unsealed(fields)
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

    def _unsealed(self, fields: xml.Fields) -> xml.Fields:
        if self._seal is None or not isinstance(fields.get("Encrypt"), str):
            raise BadMessage("the reply is not sealed")
        signed = (str(fields.get("TimeStamp")), str(fields.get("Nonce")), fields["Encrypt"])
        if fields.get("MsgSignature") != sign(self._token, *signed):
            raise BadMessage("MsgSignature is wrong")
        return xml.read_strictly(self._seal.unseal(fields["Encrypt"]))


def text_message(openid: str, content: str) -> str:
    """Return a text message's XML."""
    return _message(openid, "text", {"Content": content, "MsgId": _new_id()})


def event_message(openid: str, event: str, key: str | None = None, scene: str | None = None) -> str:
    """Return an event's XML; ``scene`` is that of a QR code, and gets WeChat's prefix where the fan follows by it."""
    fields = {"Event": event.upper() if event.lower() in _UPPER_CASE_EVENTS else event}
    if scene is not None:
        prefix = "qrscene_" if event.lower() == "subscribe" else ""
        fields |= {"EventKey": prefix + scene, "Ticket": os.urandom(16).hex()}
    elif key is not None:
        fields["EventKey"] = key
    return _message(openid, "event", fields)


def renewed(message: str, openid: str | None = None) -> str:
    """Return a recorded message's XML as a new one: sent now, with a MsgId of its own, by ``openid`` where given."""
    message = re.sub(r"(<CreateTime>)[^<]*(?=<)", rf"\g<1>{int(time.time())}", message, count=1)
    message = re.sub(r"(<MsgId>)[^<]*(?=<)", rf"\g<1>{_new_id()}", message, count=1)
    if openid is None:
        return message
    return re.sub(r"(?s)(<FromUserName>).*?(?=</FromUserName>)", rf"\g<1><![CDATA[{openid}]]>", message, count=1)


def _message(openid: str, msg_type: str, fields: Mapping[str, str]) -> str:
    head = {"ToUserName": ACCOUNT, "FromUserName": openid, "CreateTime": str(int(time.time())), "MsgType": msg_type}
    return f"<xml>{''.join(f'<{name}>{xml.cdata(value)}</{name}>' for name, value in {**head, **fields}.items())}</xml>"


def _new_id() -> str:
    return str(int.from_bytes(os.urandom(7), "big") + 10**16)


def _shown_text(fields: xml.Fields) -> str:
    if not fields["Content"] or len(fields["Content"].encode()) > _TEXT_LIMIT_BYTES:
        raise BadMessage(f"Content is empty or over {_TEXT_LIMIT_BYTES} bytes")
    return str(fields["Content"])


def _shown_news(fields: xml.Fields) -> str:
    items: Any = fields["Articles"]["item"]
    items = items if isinstance(items, list) else [items]
    if len(items) != int(fields["ArticleCount"]) or len(items) > _ARTICLES_LIMIT:
        raise BadMessage("ArticleCount is wrong, or over 8")
    return "\n".join(f"[图文] {item['Title']} {item['Url'] or ''}".rstrip() for item in items)


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
