"""A developer's browser, over HTTP against a service in this process."""

import html
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from wechatpy.replies import ImageReply, MusicReply, VideoReply, VoiceReply

from app.callback import xml
from app.sandbox.login import OPENID
from tests.actors import Account
from tests.servers import wait_for
from tests.wechat_server import serve_app

ARTICLE = {
    "title": "七号海报",
    "description": "感谢扫码",
    "image": "https://example.com/7.png",
    "url": "https://example.com/7",
}
PNG = b"\x89PNG\r\n\x1a\n a picture"
hold = threading.Event()


def answer(message: Any) -> Any:
    replies: dict[str, Any] = {
        "card": [ARTICLE],
        "picture": ImageReply(media_id="m1"),
        "voice": VoiceReply(media_id="m2"),
        "video": VideoReply(media_id="m3", title="a film"),
        "music": MusicReply(title="a song", music_url="https://example.com/song", thumb_media_id="m4"),
    }
    return replies.get(message.content, message.content)


def fail(message: Any) -> None:
    raise RuntimeError("on purpose")


def slow(message: Any) -> str:
    hold.wait(20)
    return "at last"


HANDLERS = {
    "text": answer,
    ("text", "fail"): fail,
    ("text", "slow"): slow,
    ("text", "silence"): lambda message: None,
    "image": lambda message: ImageReply(media_id=message.media_id),
    "location": lambda message: f"{float(message.location_x):.2f} {message.label}",
    ("event", "subscribe"): lambda message: f"welcome {message.scene or ''}",
    ("event", "scan"): lambda message: f"scanned {message.scene}",
    ("event", "scancode_waitmsg"): lambda message: f"{message.scan_type} {message.scan_result}",
    ("event", "location_select"): lambda message: message.label,
    ("event", "pic_weixin"): lambda message: " ".join(one["PicMd5Sum"] for one in message.pictures),
    ("event", "view_miniprogram"): lambda message: f"{message.event_key} of {message.fields['MenuId']}",
    ("event", "click", "V1"): lambda message: "clicked",
    ("event", "click", "V8"): lambda message: [ARTICLE] * 8,  # as many as an event may be answered with
}


class Site:
    """A browser on this machine that looks at the phone of one fan."""

    def __init__(self, url: str, account: Account) -> None:
        self.url, self.account = url, account
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Origin"] = url

    def get(self, path: str) -> str:
        response = self.http.get(f"{self.url}/sandbox{path}", timeout=10)
        assert response.status_code == 200, response.text
        return response.text

    def post(self, path: str, files: Any = None, **form: str) -> requests.Response:
        return self.http.post(f"{self.url}/sandbox{path}", data=form, files=files, timeout=10)

    def act(self, kind: str, openid: str = OPENID, files: Any = None, **form: str) -> int:
        """Do something as a fan, and return the message's number."""
        response = self.post(f"/fans/{openid}/{kind}", files, **form)
        assert response.status_code == 204, response.text
        return int(response.headers["X-Message"])

    def screen(self, openid: str = OPENID) -> list[str]:
        """Return what is on the screen, line by line, without what belongs to the page."""
        page = re.sub(r"<button class=\"about\"[^>]*>details( …)?</button>", "", self.get(f"/fans/{openid}"))
        texts = (html.unescape(re.sub(r"<[^>]+>", " ", block)) for block in re.split(r"<(?:div|p) class=", page)[1:])
        return [" ".join(text.split(">", 1)[1].split()) for text in texts]

    def fields(self, number: int) -> xml.Fields:
        """Return a message's XML as a dict."""
        [text] = re.findall(r"<pre>(&lt;xml&gt;.*?)</pre>", self.get(f"/messages/{number}"), re.DOTALL)[:1]
        return xml.read_strictly(html.unescape(text).encode())

    def sent(self) -> list[xml.Fields]:
        """Return what the fan has sent, in order."""
        numbers = {int(number) for number in re.findall(r'/messages/(\d+)"', self.get(f"/fans/{OPENID}"))}
        return [self.fields(number) for number in sorted(numbers)]

    def says(self, text: str, openid: str = OPENID) -> None:
        """Wait until the last thing on the screen is this, and no answer is waited for."""
        wait_for(lambda: self._has_said(text, openid), what=f"{text!r} at the end of {self.screen(openid)}")

    def _has_said(self, text: str, openid: str) -> bool:
        return "details …" not in self.get(f"/fans/{openid}") and self.screen(openid)[-1:] == [text]


@pytest.fixture
def site(account: Callable[..., Account], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    hold.clear()
    opened: list[Account] = []
    with serve_app(lambda: opened[0].app) as port:
        url = f"http://127.0.0.1:{port}"
        sandbox = {"WECHAT_SANDBOX": "1", "WECHAT_API_BASE_URL": f"{url}/sandbox/api", "WECHAT_PUBLIC_URL": url}
        sandbox["WECHAT_APPSECRET"] = "s" * 32
        opened.append(account(HANDLERS, WECHAT_ENCRYPT_MODE="safe", **sandbox))
        yield Site(url, opened[0])
        hold.set()
