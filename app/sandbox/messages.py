"""What fans send, as the XML that WeChat delivers."""

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from app.blank import without_forbidden
from app.callback import xml

Fields = Mapping[str, Any]
ACCOUNT = "gh_7f083739789a"
_NUMBERS = {"CreateTime", "MsgId", "Location_X", "Location_Y", "Scale", "Count"}
_UPPER_CASE_EVENTS = {"click", "view", "scan", "location"}


def text_message(openid: str, content: str) -> str:
    """Return a text message's XML."""
    return _message(openid, "text", {"Content": content, "MsgId": _new_id()})


def image_message(openid: str, media_id: str, url: str) -> str:
    """Return an image's XML; ``url`` is where the account finds the picture."""
    return _message(openid, "image", {"PicUrl": url, "MediaId": media_id, "MsgId": _new_id()})


def voice_message(openid: str, media_id: str, recognition: str = "") -> str:
    """Return a voice message's XML, with what WeChat understood of it where the account has that switched on."""
    heard = {"Recognition": recognition} if recognition else {}
    return _message(openid, "voice", {"MediaId": media_id, "Format": "amr", **heard, "MsgId": _new_id()})


def video_message(openid: str, media_id: str, thumb_media_id: str) -> str:
    """Return a video's XML."""
    return _message(openid, "video", {"MediaId": media_id, "ThumbMediaId": thumb_media_id, "MsgId": _new_id()})


def location_message(openid: str, latitude: float, longitude: float, label: str) -> str:
    """Return a location's XML, in degrees."""
    return _message(openid, "location", place(latitude, longitude, label) | {"MsgId": _new_id()})


def place(latitude: float, longitude: float, label: str) -> dict[str, str]:
    """Return a place's fields as WeChat names them."""
    return {"Location_X": f"{latitude:.6f}", "Location_Y": f"{longitude:.6f}", "Scale": "15", "Label": label}


def link_message(openid: str, title: str, description: str, url: str) -> str:
    """Return a link's XML."""
    link = {"Title": title, "Description": description, "Url": url}
    return _message(openid, "link", link | {"MsgId": _new_id()})


def event_message(
    openid: str, event: str, key: str | None = None, scene: str | None = None, details: Fields | None = None
) -> str:
    """Return an event's XML; ``scene`` is that of a QR code, and gets WeChat's prefix where the fan follows by it.

    ``details`` are further elements, as a dict like that of ``xml.read``.
    """
    fields: dict[str, Any] = {"Event": event.upper() if event.lower() in _UPPER_CASE_EVENTS else event}
    if scene is not None:
        prefix = "qrscene_" if event.lower() == "subscribe" else ""
        fields |= {"EventKey": prefix + scene, "Ticket": os.urandom(16).hex()}
    elif key is not None:
        fields["EventKey"] = key
    return _message(openid, "event", fields | dict(details or {}))


def renewed(message: str, openid: str | None = None) -> str:
    """Return a recorded message's XML as a new one: sent now, with a MsgId of its own, by ``openid`` where given."""
    message = re.sub(r"(<CreateTime>).*?(?=</CreateTime>)", rf"\g<1>{int(time.time())}", message, count=1)
    message = re.sub(r"(<MsgId>).*?(?=</MsgId>)", rf"\g<1>{_new_id()}", message, count=1)
    if openid is None:
        return message
    return re.sub(r"(?s)(<FromUserName>).*?(?=</FromUserName>)", rf"\g<1><![CDATA[{openid}]]>", message, count=1)


def _message(openid: str, msg_type: str, fields: Fields) -> str:
    head = {"ToUserName": ACCOUNT, "FromUserName": openid, "CreateTime": str(int(time.time())), "MsgType": msg_type}
    return f"<xml>{_elements({**head, **fields})}</xml>"


def _elements(fields: Fields) -> str:
    """Write each field as an element; a list becomes several of one name."""
    found = [(name, one) for name, value in fields.items() for one in (value if isinstance(value, list) else [value])]
    return "".join(f"<{name}>{_inside(name, value)}</{name}>" for name, value in found)


def _inside(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return _elements(value)
    if name in _NUMBERS:
        return str(value)
    # WeChat escapes nothing of what a fan writes.
    written = f"<![CDATA[{without_forbidden(value)}]]>" if name in xml.FAN_WRITTEN else None
    return written or xml.cdata(value)


def _new_id() -> str:
    return str(int.from_bytes(os.urandom(7), "big") + 10**16)
