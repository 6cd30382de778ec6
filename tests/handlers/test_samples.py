import random
import re
import socket
from collections.abc import Callable
from datetime import date

import pytest

from app.sandbox.messages import renewed, text_message
from tests.actors import OPENID, Account
from tests.servers import ROOT

Open = Callable[..., Account]


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("hello", "hello"),
        ("帮助", "试试：天气 北京、猜数字，或发一张图片"),
        ("天气 北京", "北京：晴，25 度"),
        ("50", "50"),
    ],
)
def test_a_text_is_answered(account: Open, text: str, reply: str) -> None:
    assert account().say(text) == reply


@pytest.mark.parametrize(
    ("event", "key", "scene", "reply"),
    [
        ("subscribe", None, None, "欢迎关注！"),
        ("subscribe", None, "poster-8", "欢迎关注！你来自 poster-8"),
        ("subscribe", None, "poster-7", "[图文] 七号海报 https://example.com/poster-7"),
        ("SCAN", None, "poster-7", "[图文] 七号海报 https://example.com/poster-7"),
        ("CLICK", "V1001_TODAY", None, f"今天是 {date.today()}"),
        ("LOCATION", None, None, ""),
    ],
)
def test_an_event_is_answered(account: Open, event: str, key: str | None, scene: str | None, reply: str) -> None:
    assert account().event(event, key, scene) == reply


def test_an_image_comes_back(account: Open) -> None:
    image = text_message(OPENID, "x").replace("[text]", "[image]").replace("Content>", "MediaId>")
    assert account().deliver(image) == "[图片] x"


def test_anything_else_gets_the_default_reply(account: Open) -> None:
    voice = text_message(OPENID, "x").replace("[text]", "[voice]").replace("Content>", "MediaId>")
    assert account(WECHAT_DEFAULT_REPLY="收到").deliver(voice) == "收到"


def test_a_game_goes_on_over_several_messages(account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "randint", lambda low, high: 42)
    opened = account()
    replies = [opened.say(text) for text in ("猜数字", "10", "90", "42", "42")]
    assert replies == ["我想好了一个 1 到 100 的数，猜猜看", "小了", "大了", "猜对了，就是 42！", "42"]


def test_a_slow_handler_is_noted(
    account: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.handlers.samples.SLOW_SECONDS", -1.0)
    account().say("hi")
    assert "text took 0.0 s" in caplog.text


@pytest.mark.parametrize("sample", ["image", "link", "voice", "text", "event_pic_weixin"])
def test_no_address_that_a_fan_sends_is_fetched(sample: str, account: Callable[..., Account]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        address = f"http://127.0.0.1:{inside.getsockname()[1]}/"
        message = renewed((ROOT / "tests" / "samples" / f"{sample}.xml").read_text(), OPENID)
        for name in ("PicUrl", "Url", "Content", "MediaId"):
            message = re.sub(rf"<{name}>.*?</{name}>", f"<{name}><![CDATA[{address}]]></{name}>", message)
        account().deliver(message)
        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.accept()
