"""The phone in a browser: pages at /sandbox/ on which a developer plays the account's fans."""

import secrets
import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, session, url_for

from app.callback.dispatch import Table
from app.callback.parse import parse
from app.callback.xml import read
from app.config import Settings
from app.pages import pages, say
from app.sandbox import messages, people
from app.sandbox.conversation import conversation
from app.sandbox.courier import FAULTS, Courier
from app.sandbox.in_process import as_test
from app.sandbox.trace import find_trace, keep_lines
from app.sandbox.wechat import WeChat

_MOST_FANS = 4
_API_CUT_CALLS = 3
_MEDIA = ("image", "voice", "video")
_MEDIA_TYPES = {"png": "image/png", "gif": "image/gif", "mp3": "audio/mpeg", "amr": "audio/amr", "mp4": "video/mp4"}
Form = Any
# What a fan can send, and the message's XML that it becomes.
_SENT: dict[str, Callable[[str, Form], str]] = {
    "text": lambda openid, form: messages.text_message(openid, _given(form, "text")),
    "location": lambda openid, form: messages.location_message(
        openid, float(form["latitude"]), float(form["longitude"]), form.get("label", "")
    ),
    "link": lambda openid, form: messages.link_message(openid, form["title"], form.get("description", ""), form["url"]),
    "press": lambda openid, form: messages.event_message(openid, form["event"], form.get("key")),
    "follow": lambda openid, form: messages.event_message(openid, "subscribe", scene=form.get("scene") or None),
    "unfollow": lambda openid, form: messages.event_message(openid, "unsubscribe"),
    "scan": lambda openid, form: messages.event_message(openid, "SCAN", scene=form["scene"]),
}


def _given(form: Form, name: str) -> str:
    if not (value := form[name].strip()):
        raise ValueError(name)
    return str(value)


def phone_site(settings: Settings, table: Table, wechat: WeChat) -> Blueprint:
    """Return the pages for the account of ``settings``, which ``wechat`` plays."""
    site, views = pages("phone", "/sandbox"), _Views(settings, table, wechat)
    keep_lines(wechat.state)
    site.get("/")(views.phones)
    site.post("/fans")(views.add)
    site.get("/fans/<openid>")(views.screen)
    site.post("/fans/<openid>/<kind>")(views.act)
    site.get("/messages/<int:number>")(views.message)
    site.post("/messages/<int:number>/again")(views.again)
    site.post("/faults/<fault>")(views.fault)
    site.get("/media/<media_id>")(views.media)
    site.get("/open")(views.open)
    return site


class _Views:
    def __init__(self, settings: Settings, table: Table, wechat: WeChat) -> None:
        self._settings = settings
        self._table = table
        self._wechat = wechat
        self._state = wechat.state
        self._courier = Courier(settings, wechat.state)

    def phones(self) -> str:
        """GET /sandbox/?fan=OPENID&fan=…: one phone or several, side by side."""
        known = people.people(self._state)
        wanted = request.args.getlist("fan")[:_MOST_FANS] or [known[0].openid]
        shown = [person for person in known if person.openid in wanted]
        account = {"menu": people.menu_of(self._state), "scenes": people.scenes_of(self._state)}
        return render_template("sandbox/phones.html", shown=shown, known=known, **account)

    def add(self) -> Any:
        """POST /sandbox/fans: one more, beside those who are shown."""
        shown = [*request.form.getlist("fan"), people.add_person(self._state).openid]
        return redirect(url_for("phone.phones", fan=shown[-_MOST_FANS:]))

    def screen(self, openid: str) -> Any:
        """GET /sandbox/fans/OPENID?seen=…: what is on the screen, 204 where that has been seen."""
        bubbles = conversation(self._state, openid)
        seen = f"{bubbles[-1].number if bubbles else 0}.{sum(bubble.is_waiting for bubble in bubbles)}"
        if request.args.get("seen") == seen:
            return Response(status=204)
        person = next((one for one in people.people(self._state) if one.openid == openid), None) or abort(404)
        return render_template("sandbox/screen.html", bubbles=bubbles, seen=seen, person=person, clock=_clock)

    def act(self, openid: str, kind: str) -> Any:
        """POST /sandbox/fans/OPENID/KIND: what a fan does."""
        try:
            message = self._media(openid, kind) if kind in _MEDIA else _SENT[kind](openid, request.form)
        except (KeyError, ValueError):
            return Response(say("内容不完整", "something is missing"), 400, content_type="text/plain; charset=utf-8")
        return self._send(openid, message)

    def message(self, number: int) -> str:
        """GET /sandbox/messages/NUMBER: what happened to it."""
        trace = find_trace(self._state, self._table, number) or abort(404)
        test = as_test(trace.xml, trace.answer["shown"]) if trace.answer else ""
        return render_template("sandbox/message.html", trace=trace, test=test)

    def again(self, number: int) -> Any:
        """POST /sandbox/messages/NUMBER/again: the same as a new message."""
        trace = find_trace(self._state, self._table, number) or abort(404)
        return self._send(trace.openid, messages.renewed(trace.xml))

    def fault(self, fault: str) -> Any:
        """POST /sandbox/faults/FAULT."""
        if fault == "expire-token":
            self._wechat.expire_token()
        elif fault == "close-window":
            self._wechat.close_window(request.form["openid"])
        elif fault == "cut-api":
            self._wechat.fail("*", "cut", times=_API_CUT_CALLS)
        elif fault == "heal":
            self._wechat.heal()
        else:
            abort(404)
        return Response(status=204)

    def media(self, media_id: str) -> Any:
        """GET /sandbox/media/MEDIA_ID: a file that a fan sent, or that the account uploaded."""
        name, content = self._state.media(media_id) or abort(404)
        return Response(content, content_type=_MEDIA_TYPES.get(name.rpartition(".")[2].lower(), "image/jpeg"))

    def open(self) -> Any:
        """GET /sandbox/open?fan=OPENID&url=…: open a page in WeChat's browser of this fan."""
        openid, target = request.args.get("fan", ""), request.args.get("url", "")
        if not target.startswith(("http://", "https://")):
            abort(400)
        if session.get("fan", {}).get("openid") != openid:  # the browser is one, the phones are several
            session.pop("fan", None)
        response = redirect(target)
        response.set_cookie("sandbox_openid", openid, httponly=True, samesite="Lax")
        return response

    def _send(self, openid: str, message: str) -> Response:
        event = parse(read(message.encode())).event
        self._wechat.heard(openid, event)
        if event in ("subscribe", "unsubscribe"):
            people.set_follows(self._state, openid, follows=event == "subscribe")
        fault = request.form.get("fault", "")
        url = request.host_url.rstrip("/") + self._settings.path
        number = self._courier.send(url, openid, message, fault if fault in FAULTS else "")
        return Response(status=204, headers={"X-Message": str(number)})

    def _media(self, openid: str, kind: str) -> str:
        """Keep what the fan sends as media of the account, and return the message about it."""
        file, media_id = request.files["file"], f"fan_{secrets.token_urlsafe(30)}"
        self._state.keep_media(media_id, kind, file.filename or "", file.read())
        if kind == "image":
            return messages.image_message(openid, media_id, url_for("phone.media", media_id=media_id, _external=True))
        if kind == "voice":
            return messages.voice_message(openid, media_id, request.form.get("recognition", ""))
        return messages.video_message(openid, media_id, media_id)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
