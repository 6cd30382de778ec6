"""The phone in a browser: pages at /sandbox/ on which a developer plays the account's fans."""

import time
from typing import Any
from zlib import crc32

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request, session, url_for

from app.callback.parse import parse
from app.callback.xml import read
from app.config import Settings
from app.pages import pages, say
from app.sandbox import people
from app.sandbox.acts import messages_of
from app.sandbox.as_test import as_test
from app.sandbox.conversation import conversation
from app.sandbox.courier import FAULTS, Courier
from app.sandbox.materials import material_message
from app.sandbox.messages import renewed
from app.sandbox.trace import find_trace, keep_lines
from app.sandbox.wechat import WeChat
from app.table.dispatch import Table

_MOST_FANS = 4
_API_CUT_CALLS = 3
_MEDIA_TYPES = {"png": "image/png", "gif": "image/gif", "mp3": "audio/mpeg", "amr": "audio/amr", "mp4": "video/mp4"}


def phone_site(settings: Settings, table: Table, wechat: WeChat) -> Blueprint:
    """Return the pages for the account of ``settings``, which ``wechat`` plays."""
    site, views = pages("phone", "/sandbox"), _Views(settings, table, wechat)
    keep_lines(wechat.state)
    site.get("/")(views.phones)
    site.post("/fans")(views.add)
    site.get("/fans/<openid>")(views.screen)
    site.post("/fans/<openid>/<act>")(views.act)
    site.post("/fans/<openid>/profile")(views.profile)
    site.post("/fans/<openid>/material")(views.material)
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
        account = {"scenes": people.scenes_of(self._state), "tags": people.tags_of(self._state)}
        menus = {person.openid: people.menu_of(self._state, person) for person in shown}
        return render_template("sandbox/phones.html", shown=shown, known=known, menus=menus, **account)

    def add(self) -> Any:
        """POST /sandbox/fans: one more, beside those who are shown."""
        shown = [*request.form.getlist("fan"), people.add_person(self._state).openid]
        return redirect(url_for("phone.phones", fan=shown[-_MOST_FANS:]))

    def screen(self, openid: str) -> Any:
        """GET /sandbox/fans/OPENID?seen=…: what is on the screen, 204 where that has been seen."""
        bubbles = conversation(self._state, openid)
        broken = current_app.extensions.get("wechat_dev_error", "")  # of cli/dev.py
        seen = f"{bubbles[-1].number if bubbles else 0}.{sum(bubble.is_waiting for bubble in bubbles)}"
        seen += f".{crc32(broken.encode())}" if broken else ""
        if request.args.get("seen") == seen:
            return Response(status=204)
        person = self._person(openid)
        return render_template(
            "sandbox/screen.html", bubbles=bubbles, seen=seen, person=person, clock=_clock, broken=broken
        )

    def act(self, openid: str, act: str) -> Any:
        """POST /sandbox/fans/OPENID/ACT: what a fan does; who does not follow can do nothing else than that."""
        try:
            sent = messages_of(self._state, openid, act, request.form, request.files)
        except (KeyError, ValueError):
            return _incomplete()
        numbers = [self._send(openid, message) for message in sent]
        return _sent(numbers[0])

    def profile(self, openid: str) -> Any:
        """POST /sandbox/fans/OPENID/profile: which menu the fan sees depends on it; the answer is that menu."""
        self._person(openid)
        try:
            people.set_profile(self._state, openid, request.form["client_platform_type"], request.form["tag_id"])
        except (KeyError, ValueError):
            return _incomplete()
        person = self._person(openid)
        return render_template("sandbox/menu.html", person=person, menu=people.menu_of(self._state, person))

    def material(self, openid: str) -> Any:
        """POST /sandbox/fans/OPENID/material: a menu's button brings the fan something, and nobody is told."""
        self._expect_follower(openid)
        self._state.add("material", material_message(self._state, openid, request.form["id"]))
        return Response(status=204)

    def message(self, number: int) -> str:
        """GET /sandbox/messages/NUMBER: what happened to it."""
        trace = find_trace(self._state, self._table, number) or abort(404)
        return render_template("sandbox/message.html", trace=trace, test=as_test(trace, self._settings))

    def again(self, number: int) -> Any:
        """POST /sandbox/messages/NUMBER/again: the same as a new message."""
        trace = find_trace(self._state, self._table, number) or abort(404)
        return _sent(self._send(trace.openid, renewed(trace.xml)))

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

    def _person(self, openid: str) -> people.Person:
        return next((one for one in people.people(self._state) if one.openid == openid), None) or abort(404)

    def _expect_follower(self, openid: str) -> None:
        if not self._person(openid).follows:
            abort(_refusal(409, "请先关注", "follow first"))

    def _send(self, openid: str, message: str) -> int:
        event = parse(read(message.encode())).event
        if event != "subscribe":
            self._expect_follower(openid)
        self._wechat.heard(openid, event)
        if event in ("subscribe", "unsubscribe"):
            people.set_follows(self._state, openid, follows=event == "subscribe")
        fault = request.form.get("fault", "")
        url = request.host_url.rstrip("/") + self._settings.path
        session_before, _ = current_app.extensions["wechat_road"].kept_of(openid)
        return self._courier.send(url, openid, message, fault if fault in FAULTS else "", session_before)


def _sent(number: int) -> Response:
    return Response(status=204, headers={"X-Message": str(number)})


def _incomplete() -> Response:
    return _refusal(400, "内容不完整", "something is missing")


def _refusal(status: int, chinese: str, english: str) -> Response:
    return Response(say(chinese, english), status, content_type="text/plain; charset=utf-8")


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
