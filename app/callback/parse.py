"""Step 3: from the XML's fields to the message that a handler gets."""

import json
import time
from collections.abc import Callable
from typing import Any

from wechatpy.events import EVENT_TYPES, BaseEvent
from wechatpy.messages import MESSAGE_TYPES, UnknownMessage

from app.callback.session import Session
from app.callback.xml import Fields
from app.errors import BadMessage
from app.once.answer import ANSWER_SECONDS
from app.table.rows import Row

_MOST_DIGITS = 12
_QR_PREFIX = "qrscene_"
_LEAVING = ("unsubscribe", "user_authorization_revoke", "user_authorization_cancellation")


class FanMessage:
    """What every message has beside the attributes of wechatpy's class for its type.

    ``openid``, ``msg_type``, ``event``, ``event_key``, ``scene`` and ``match`` are None where there is none; types and
    events are WeChat's own words in lower case. ``fields`` is the XML as a dict.
    """

    openid: str
    msg_type: str
    fields: Fields
    event: str | None = None
    event_key: str | None = None
    scene: Any = None
    match: Any = None
    row: Row | None = None
    arrived = 0.0
    is_pickup = False
    _session: Session | None = None

    def begin(self, row: Row, session: Session, arrived: float, pickup_word: str) -> None:
        """Begin its way: the row of HANDLERS that takes it, the fan's session, and when it came (monotonic)."""
        self.row, self._session, self.arrived = row, session, arrived
        self.is_pickup = self.text == pickup_word

    @property
    def identity(self) -> tuple[str, ...]:
        """What all deliveries of this message, and no other message, have in common: its MsgId, or all that it says."""
        # https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_standard_messages.html
        # MsgId is not unique across fans. An event has none: what differs between two of one second may stand anywhere.
        msg_id = str(self.fields.get("MsgId") or "0")
        if self.event is None and msg_id.strip("0"):
            return self.openid, msg_id
        # Encrypt beside a plaintext is sealed anew for each delivery.
        said = {name: value for name, value in self.fields.items() if name != "Encrypt"}
        return self.openid, json.dumps(said, ensure_ascii=False, sort_keys=True)

    @property
    def asked(self) -> int:
        """When the fan sent it, in seconds since 1970; 0 where it does not say."""
        asked = str(self.fields.get("CreateTime"))
        return int(asked) if asked.isdecimal() and len(asked) <= _MOST_DIGITS else 0

    @property
    def text(self) -> str | None:
        """The words of a text, without outer space; None for anything else."""
        content = self.fields.get("Content") if self.msg_type == "text" else None
        return content.strip() if isinstance(content, str) else None

    @property
    def label(self) -> str:
        """What the log calls it."""
        return str(self.fields.get("MsgId") or f"{self.event} of {self.fields.get('CreateTime')}")

    @property
    def leaving(self) -> set[str]:
        """The openids whose data must be deleted after this event; a revocation names its fan in OpenID."""
        # https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/authorization_change.html
        return {self.openid, str(self.fields.get("OpenID") or self.openid)} if self.event in _LEAVING else set()

    @property
    def deadline(self) -> float:
        """How many seconds are left until this delivery must be answered; 0.0 when they are over."""
        return max(self.arrived + ANSWER_SECONDS - time.monotonic(), 0.0)

    @property
    def session(self) -> dict[str, Any]:
        """What this fan said before, as a dict that JSON can hold; kept when the handler changes it and returns."""
        if self._session is None:
            raise RuntimeError("message.session is there while a handler runs, not before")
        return self._session.data

    def save_session(self, has_left: Callable[[], bool]) -> None:
        """Keep the session where the handler changed it, unless the fan has left."""
        if self._session is not None:
            self._session.save(has_left)


def _with_fan(wechatpy_class: type) -> type:
    # wechatpy's class comes first: where it has a `scene` of its own (product scans), that one is meant.
    return type(wechatpy_class)(wechatpy_class.__name__, (wechatpy_class, FanMessage), {})


_MESSAGES = {name: _with_fan(cls) for name, cls in MESSAGE_TYPES.items()}
_EVENTS = {name: _with_fan(cls) for name, cls in EVENT_TYPES.items()}
_OTHER_MESSAGE, _OTHER_EVENT = _with_fan(UnknownMessage), _with_fan(BaseEvent)


def parse(fields: Fields) -> Any:
    """Return the message: wechatpy's object for its type, with the attributes of FanMessage.

    A type or event that wechatpy does not know is a full message too, with its raw ``fields``.
    Raises BadMessage where FromUserName, ToUserName, MsgType or an event's Event is missing.
    """
    # https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_standard_messages.html
    openid, msg_type = _text(fields, "FromUserName"), _text(fields, "MsgType").lower()
    _text(fields, "ToUserName")
    data = dict(fields)  # wechatpy writes defaults into its dict; `fields` stays as it came
    if msg_type == "event" or (msg_type.startswith("device_") and "Event" in fields):
        message = _event(msg_type, _text(fields, "Event").lower(), data)
    else:
        classes = _EVENTS if msg_type.startswith("device_") else _MESSAGES
        message = classes.get(msg_type, _OTHER_MESSAGE)(data)
        message.event = None
    if message.type == "unknown":
        message.type = msg_type
    message.openid, message.msg_type, message.fields = openid, msg_type, fields
    return message


def _event(msg_type: str, event: str, data: Fields) -> Any:
    event_key = data.get("EventKey")
    key = event_key if isinstance(event_key, str) else None
    name, scene = event, key if event == "scan" else None
    if msg_type != "event":
        name = f"device_{event}"
    elif event == "subscribe" and key and key.startswith(_QR_PREFIX):
        name, scene = "subscribe_scan", key[len(_QR_PREFIX) :]
        data["EventKey"] = scene
    elif event == "subscribe" and key and key.startswith(("scanbarcode|", "scanimage|")):
        name = "subscribe_scan_product"
    message = _EVENTS.get(name, _OTHER_EVENT)(data)
    message.event, message.event_key = event, key
    if scene is not None:
        message.scene = scene
    return message


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        sealed = "; it is sealed, and WECHAT_ENCRYPT_MODE is normal" if "Encrypt" in fields else ""
        raise BadMessage(f"no {name}{sealed}")
    return value.strip()
