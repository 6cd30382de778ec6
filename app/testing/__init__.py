"""A fan in the tests of handlers, without a server: ``assert Fan(HANDLERS).says("你好") == "你好"``."""

import secrets
import time
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import wait
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from app.callback.parse import parse
from app.callback.seal import Seal
from app.callback.session import Session
from app.callback.xml import read
from app.once.answer import ANSWER_SECONDS, DELIVERY_SECONDS
from app.sandbox import messages
from app.sandbox.conversation import shown
from app.sandbox.phone import FAILURE_NOTICE, Outcome, Phone
from app.testing.service import Handlers, Service

OPENID = "oFanOfATest00000000000000000"
_PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c63f8cfc0f01f00050001ff56c72f0d0000000049454e44ae426082"
)
_A_MOMENT_SECONDS = 0.1
_MEDIA_SECONDS = 3 * 86400


class Fan:
    """A fan of an account with these handlers: a dict like HANDLERS, a module that holds one, or an application.

    Each message goes the whole road: signed, sealed where the settings say so, delivered again after 5 seconds, run by
    ``create_app``'s service with a cache in memory. What a handler sleeps takes no time. Calls of WeChat's API are
    played. ``settings`` are those of the environment, which is not read: ``Fan(HANDLERS, WECHAT_PICKUP_WORD="2")``.
    What a fan does returns what they see: the text, "[图文] title url", "[图片] media_id" and the like, "" for silence.
    """

    def __init__(
        self,
        handlers: Handlers,
        *,
        middleware: Any = (),
        session: Mapping[str, Any] | None = None,
        openid: str = OPENID,
        **settings: str,
    ) -> None:
        self._service = Service(handlers, middleware, settings)
        self._end = weakref.finalize(self, self._service.close)
        self._begin(openid)
        if session:
            kept = self._kept
            kept.data.update(session)
            kept.save()

    def _begin(self, openid: str) -> None:
        self.openid = openid
        self.outcome = Outcome("", True, 0, 0.0)
        self._last_act = 0
        config = self.app.config
        key = config["WECHAT_ENCODING_AES_KEY"]
        seal = Seal(key, config["WECHAT_APPID"]) if key else None
        self._phone = Phone("", config["WECHAT_TOKEN"], openid, config["WECHAT_ENCRYPT_MODE"], seal)

    def __enter__(self) -> "Fan":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the service down, and give the time back; done by itself when nobody has the fan any more."""
        self._end()

    def another(self, openid: str = "") -> "Fan":
        """Return another fan of the same account."""
        fan = object.__new__(Fan)
        fan._service, fan._end = self._service, self._end
        fan._begin(openid or f"oFan{secrets.token_hex(12)}")
        return fan

    @property
    def app(self) -> Any:
        """The application: ``with fan.app.app_context(): send(fan.openid, "到货了")``."""
        return self._service.app

    @property
    def wechat(self) -> Any:
        """The played WeChat: ``fan.wechat.fail("/cgi-bin/user/info", errcode=48001)``."""
        return self._service.wechat

    @property
    def session(self) -> dict[str, Any]:
        """What is kept of this fan now: a copy."""
        return dict(self._kept.data)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of WeChat's API so far but those for a token: dicts with method, path, query, body, errcode."""
        return [call for call in self.wechat.calls if not call["path"].endswith("/stable_token")]

    @property
    def late(self) -> list[str]:
        """What came by itself, as customer-service messages, since the fan last did something."""
        found = self.wechat.state.records("message", touser=self.openid)
        return [shown(one) for one in found if one["number"] > self._last_act]

    def passes(self, **duration: float) -> None:
        """Let time go by: ``fan.passes(minutes=31)``, or any other names of ``timedelta``."""
        self._service.go_on(timedelta(**duration).total_seconds(), lambda: False, fully=True)

    def says(self, text: str) -> str:
        """Send a text."""
        return self.sends(messages.text_message(self.openid, text))

    def sends_image(self, file: str | Path | bytes = _PICTURE, *, media_id: str = "") -> str:
        """Send a picture, which the account can fetch by its media_id."""
        media_id = media_id or self._uploaded("image", file, "picture.png")
        return self.sends(messages.image_message(self.openid, media_id, f"http://mmbiz.qpic.cn/{media_id}"))

    def sends_voice(self, recognition: str = "", file: str | Path | bytes = b"#!AMR\n", *, media_id: str = "") -> str:
        """Send a recording; ``recognition`` is what WeChat understood."""
        media_id = media_id or self._uploaded("voice", file, "voice.amr")
        return self.sends(messages.voice_message(self.openid, media_id, recognition))

    def sends_video(self, file: str | Path | bytes = b"\0\0\0\x18ftypmp42", *, media_id: str = "") -> str:
        """Send a video."""
        media_id = media_id or self._uploaded("video", file, "video.mp4")
        return self.sends(messages.video_message(self.openid, media_id, media_id))

    def sends_location(self, latitude: float, longitude: float, label: str = "") -> str:
        """Send a place, in degrees."""
        return self.sends(messages.location_message(self.openid, latitude, longitude, label))

    def sends_link(self, title: str, url: str, description: str = "") -> str:
        """Send a link."""
        return self.sends(messages.link_message(self.openid, title, description, url))

    def follows(self, scene: str | None = None) -> str:
        """Follow the account, by the QR code with this scene where there is one."""
        return self.does("subscribe", scene=scene)

    def unfollows(self) -> str:
        """Leave the account."""
        return self.does("unsubscribe")

    def scans(self, scene: str) -> str:
        """Scan a QR code as a follower."""
        return self.does("SCAN", scene=scene)

    def clicks(self, key: str) -> str:
        """Click the menu's button with this key."""
        return self.does("CLICK", key)

    def does(
        self, event: str, key: str | None = None, *, scene: str | None = None, details: Mapping[str, Any] | None = None
    ) -> str:
        """Do what WeChat tells as this event, with its EventKey; ``details`` are further elements of its XML."""
        return self.sends(messages.event_message(self.openid, event, key, scene, details))

    def sends(self, xml: str) -> str:
        """Send the message that this XML is, as a new one of this fan. ``outcome`` tells how it was answered."""
        xml = messages.renewed(xml, self.openid)
        event = parse(read(xml.encode())).event
        self.wechat.heard(self.openid, event)
        self._last_act = self.wechat.state.add("said", {"openid": self.openid})
        self.outcome = self._delivered(xml)
        return self.outcome.shown

    def _delivered(self, xml: str) -> Outcome:
        query, body = self._phone.envelope(xml)
        most, status = self.app.config["WECHAT_DELIVERIES"], 0
        for number in range(1, most + 1):
            post = self._service.post(query, body)
            is_last = number == most
            # The last is answered in time, however long that takes here.
            seconds = ANSWER_SECONDS + _A_MOMENT_SECONDS if is_last else DELIVERY_SECONDS
            self._service.go_on(seconds, post.done, fully=False)
            if is_last:
                wait([post], DELIVERY_SECONDS)
            if post.done():
                response = post.result()
                status = response.status_code
                if status == 200:
                    return self._phone.judge(response.data, number)
        return Outcome(FAILURE_NOTICE, False, most, 0.0, f"no delivery was answered; the last one's status is {status}")

    @property
    def _kept(self) -> Session:
        seconds = self.app.config["WECHAT_SESSION_SECONDS"]
        return Session(self._service.api.cache.fans, self.openid, seconds)

    def _uploaded(self, kind: str, file: str | Path | bytes, name: str) -> str:
        content = file if isinstance(file, bytes) else Path(file).read_bytes()
        media_id = f"fan_{secrets.token_urlsafe(30)}"
        self.wechat.state.keep_media(media_id, kind, name, content)
        with self.wechat.state.changed() as account:
            account.setdefault("media", {})[media_id] = time.time() + _MEDIA_SECONDS
        return media_id


def fixture(handlers: Handlers, **settings: Any) -> Any:
    """Return a pytest fixture that is a Fan of these handlers, in ``conftest.py``: ``fan = fixture(handlers)``."""

    def fan() -> Iterator[Fan]:
        with Fan(handlers, **settings) as opened:
            yield opened

    return import_module("pytest").fixture(fan)
