"""What fans send, as the XML that WeChat delivers."""

import os
import re
import time
from collections.abc import Mapping

from app.callback import xml

ACCOUNT = "gh_7f083739789a"
_NUMBERS = {"CreateTime", "MsgId", "Location_X", "Location_Y", "Scale"}
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
    place = {"Location_X": f"{latitude:.6f}", "Location_Y": f"{longitude:.6f}", "Scale": "15", "Label": label}
    return _message(openid, "location", place | {"MsgId": _new_id()})


def link_message(openid: str, title: str, description: str, url: str) -> str:
    """Return a link's XML."""
    link = {"Title": title, "Description": description, "Url": url}
    return _message(openid, "link", link | {"MsgId": _new_id()})


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
    message = re.sub(r"(<CreateTime>).*?(?=</CreateTime>)", rf"\g<1>{int(time.time())}", message, count=1)
    message = re.sub(r"(<MsgId>).*?(?=</MsgId>)", rf"\g<1>{_new_id()}", message, count=1)
    if openid is None:
        return message
    return re.sub(r"(?s)(<FromUserName>).*?(?=</FromUserName>)", rf"\g<1><![CDATA[{openid}]]>", message, count=1)


def _message(openid: str, msg_type: str, fields: Mapping[str, str]) -> str:
    head = {"ToUserName": ACCOUNT, "FromUserName": openid, "CreateTime": str(int(time.time())), "MsgType": msg_type}
    shown = {name: value if name in _NUMBERS else xml.cdata(value) for name, value in {**head, **fields}.items()}
    return f"<xml>{''.join(f'<{name}>{value}</{name}>' for name, value in shown.items())}</xml>"


def _new_id() -> str:
    return str(int.from_bytes(os.urandom(7), "big") + 10**16)
