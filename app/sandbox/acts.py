"""What a fan can do on the phone, and the messages that it becomes."""

import hashlib
import secrets
from collections.abc import Callable
from typing import Any

from flask import url_for
from werkzeug.datastructures import FileStorage, MultiDict

from app.sandbox import messages
from app.sandbox.state import State

Form = MultiDict[str, str]
Files = MultiDict[str, FileStorage]
_MEDIA = ("image", "voice", "video")


def messages_of(state: State, openid: str, act: str, form: Form, files: Files) -> list[str]:
    """Return the XML of each message that WeChat delivers when a fan does this, in order.

    Files are kept as media of the account. Raises KeyError or ValueError where something is missing or wrong.
    """
    if act in _MEDIA:
        return [_media(state, openid, act, form, files["file"])]
    if act == "press":
        return _press(state, openid, form, files)
    return [_SENT[act](openid, form)]


def _press(state: State, openid: str, form: Form, files: Files) -> list[str]:
    """Return the event of a menu's button, and the messages with what the fan chose after it."""
    # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Custom_Menu_Push_Events.html
    event, sent = form["event"], []
    details: dict[str, Any] = {"MenuId": form["menuid"]} if form.get("menuid") else {}
    if event in ("scancode_push", "scancode_waitmsg"):
        details = {"ScanCodeInfo": {"ScanType": form["scan_type"], "ScanResult": _given(form, "scan_result")}}
    elif event in ("pic_sysphoto", "pic_photo_or_album", "pic_weixin"):
        kept = [_kept(state, "image", file) for file in files.getlist("file")]
        if not kept:
            raise ValueError("there is no picture")
        sums = [{"PicMd5Sum": hashlib.md5(content, usedforsecurity=False).hexdigest()} for _, content in kept]
        details = {"SendPicsInfo": {"Count": len(sums), "PicList": {"item": sums}}}
        sent = [_image(openid, media_id) for media_id, _ in kept]
    elif event == "location_select":
        details = {"SendLocationInfo": {**messages.place(*_place(form)), "Poiname": ""}}
        sent = [messages.location_message(openid, *_place(form))]
    return [messages.event_message(openid, event, form["key"], details=details), *sent]


def _media(state: State, openid: str, kind: str, form: Form, file: FileStorage) -> str:
    media_id, _ = _kept(state, kind, file)
    if kind == "image":
        return _image(openid, media_id)
    if kind == "voice":
        return messages.voice_message(openid, media_id, form.get("recognition", ""))
    return messages.video_message(openid, media_id, media_id)


def _image(openid: str, media_id: str) -> str:
    return messages.image_message(openid, media_id, url_for("phone.media", media_id=media_id, _external=True))


def _kept(state: State, kind: str, file: FileStorage) -> tuple[str, bytes]:
    """Keep what the fan sends as media of the account, and return its media_id and content."""
    if not (content := file.read()):
        raise ValueError("the file is empty")
    media_id = f"fan_{secrets.token_urlsafe(30)}"
    state.keep_media(media_id, kind, file.filename or "", content)
    return media_id, content


def _place(form: Form) -> tuple[float, float, str]:
    return float(form["latitude"]), float(form["longitude"]), form.get("label", "")


def _given(form: Form, name: str) -> str:
    if not (value := form[name].strip()):
        raise ValueError(f"{name} is empty")
    return value


# The XML of what is one message and nothing more.
_SENT: dict[str, Callable[[str, Form], str]] = {
    "text": lambda openid, form: messages.text_message(openid, _given(form, "text")),
    "location": lambda openid, form: messages.location_message(openid, *_place(form)),
    "link": lambda openid, form: messages.link_message(openid, form["title"], form.get("description", ""), form["url"]),
    "follow": lambda openid, form: messages.event_message(openid, "subscribe", scene=form.get("scene") or None),
    "unfollow": lambda openid, form: messages.event_message(openid, "unsubscribe"),
    "scan": lambda openid, form: messages.event_message(openid, "SCAN", scene=form["scene"]),
}
