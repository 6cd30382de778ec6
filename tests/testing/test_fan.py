"""A fan in the tests of somebody's handlers."""

import asyncio
import datetime
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import current_app
from wechatpy.replies import ImageReply

from app.api import get_client, send
from app.errors import ApiError, ConfigError
from app.sandbox.phone import FAILURE_NOTICE
from app.testing import Fan, fixture
from tests.servers import AES_KEY


def count(message: Any) -> str:
    message.session["count"] = message.session.get("count", 0) + 1
    return str(message.session["count"])


def sleeps(seconds: float) -> Any:
    def handler(message: Any) -> str:
        time.sleep(seconds)
        return f"after {seconds} s"

    return handler


def sleeps_on_the_loop(seconds: float) -> Any:
    async def handler(message: Any) -> str:
        await asyncio.sleep(seconds)
        return f"after {seconds} s"

    return handler


def fails(message: Any) -> None:
    raise RuntimeError("on purpose")


def progress(message: Any) -> str:
    send(message.openid, "working on it")
    return "done"


def nickname(message: Any) -> str:
    try:
        return str(get_client().user.get(message.openid)["openid"])
    except ApiError as error:
        return f"refused: {error.errcode}"


HANDLERS = {
    "text": lambda message: message.content,
    ("text", "count"): count,
    ("text", "silence"): lambda message: None,
    ("text", "fails"): fails,
    ("text", "progress"): progress,
    ("text", "who"): nickname,
    ("text", "today"): lambda message: f"{datetime.date.today()}",
    ("text", "settings"): lambda message: current_app.config["WECHAT_DEFAULT_REPLY"],
    ("text", "8 s"): sleeps(8),
    ("text", "20 s"): sleeps(20),
    ("text", "8 s async"): sleeps_on_the_loop(8),
    ("text", "20 s async"): sleeps_on_the_loop(20),
    "image": lambda message: ImageReply(media_id=message.media_id),
    "voice": lambda message: message.recognition,
    "location": lambda message: message.label,
    "link": lambda message: [{"title": message.title, "url": message.url}],
    ("event", "subscribe"): lambda message: f"welcome {message.scene}",
    ("event", "unsubscribe"): lambda message: None,
    ("event", "scan", "poster-7"): lambda message: "poster",
    ("event", "click", "V1"): lambda message: "clicked",
    "event": lambda message: f"{message.event} {message.event_key}",
}


@pytest.fixture
def fan() -> Iterator[Fan]:
    with Fan(HANDLERS) as opened:
        yield opened


def test_what_a_fan_does_returns_what_they_see(fan: Fan) -> None:
    assert fan.says("你好") == "你好"
    assert fan.says("silence") == ""
    assert fan.sends_image(media_id="m1") == "[图片] m1"
    assert fan.sends_voice("早上好") == "早上好"
    assert fan.sends_location(39.9, 116.4, "天安门") == "天安门"
    assert fan.sends_link("a page", "https://example.com/") == "[图文] a page https://example.com/"
    assert fan.follows() == "welcome None"
    assert fan.follows(scene="poster-7") == "welcome poster-7"
    assert fan.scans("poster-7") == "poster"
    assert fan.clicks("V1") == "clicked"
    assert fan.does("VIEW", "https://example.com/") == "view https://example.com/"
    assert fan.unfollows() == ""


def test_a_failing_handler_is_seen_as_a_fan_sees_it(fan: Fan, capfd: pytest.CaptureFixture[str]) -> None:
    assert fan.says("fails") == "出了点问题，请稍后再试"
    assert "RuntimeError: on purpose" in capfd.readouterr().err


def test_a_message_takes_milliseconds(fan: Fan) -> None:
    fan.says("the first one loads what all need")
    began = time.perf_counter()
    for number in range(20):
        assert fan.says(f"{number}") == f"{number}"
    assert (time.perf_counter() - began) / 20 < 0.1  # about 6 ms, and a busy machine


def test_the_session_is_seen_and_can_be_there_before(fan: Fan) -> None:
    assert [fan.says("count") for _ in range(2)] == ["1", "2"]
    assert fan.session == {"count": 2}
    fan.unfollows()
    assert fan.session == {}
    with Fan(HANDLERS, session={"count": 41}) as other:
        assert other.says("count") == "42"


def test_fans_of_one_account_have_each_their_own_session(fan: Fan) -> None:
    other = fan.another()
    assert [fan.says("count"), other.says("count"), fan.says("count")] == ["1", "1", "2"]
    assert other.openid != fan.openid


def test_the_test_moves_the_time(fan: Fan) -> None:
    fan.says("count")
    fan.passes(minutes=29)
    assert fan.says("count") == "2"
    fan.passes(minutes=31)
    assert fan.says("count") == "1"
    today = datetime.date.fromisoformat(fan.says("today"))
    fan.passes(days=3)
    assert fan.says("today") == f"{today + datetime.timedelta(days=3)}"


def test_the_time_is_given_back() -> None:
    before, sleep, monotonic = datetime.datetime.now(), time.sleep, time.monotonic
    with Fan(HANDLERS) as fan, Fan(HANDLERS):
        fan.passes(days=3)
        assert datetime.datetime.now() - before > datetime.timedelta(days=3)
    assert datetime.datetime.now() - before < datetime.timedelta(days=1)
    assert (time.sleep, time.monotonic) == (sleep, monotonic)


def test_who_is_forgotten_gives_the_time_back_too() -> None:
    before, sleep = datetime.datetime.now(), time.sleep
    Fan(HANDLERS).passes(days=3)
    assert time.sleep is sleep
    assert datetime.datetime.now() - before < datetime.timedelta(days=1)


@pytest.mark.parametrize("kind", ["", " async"])
def test_a_slow_handler_takes_no_time_and_is_answered_by_a_later_delivery(fan: Fan, kind: str) -> None:
    began = time.perf_counter()
    assert fan.says(f"8 s{kind}") == "after 8 s"
    assert fan.outcome.deliveries == 2
    assert time.perf_counter() - began < 5
    assert fan.late == []


@pytest.mark.parametrize("kind", ["", " async"])
def test_what_comes_too_late_for_all_deliveries_comes_by_itself(fan: Fan, kind: str) -> None:
    assert fan.says(f"20 s{kind}") == ""
    assert fan.outcome.deliveries == 3
    fan.passes(seconds=3)
    assert fan.late == []
    fan.passes(seconds=4)
    assert fan.late == ["after 20 s"]
    assert fan.says("next") == "next"
    assert fan.late == []


@pytest.mark.parametrize("kind", ["", " async"])
def test_without_customer_service_the_pickup_word_collects_it(kind: str) -> None:
    with Fan(HANDLERS, WECHAT_LATE_REPLY="next_message", WECHAT_PICKUP_WORD="查") as fan:
        assert fan.says(f"20 s{kind}") == "还在处理，稍后回复 查 查看结果"
        fan.passes(minutes=1)
        assert fan.says("查") == "after 20 s"
        assert fan.says("查") == "查"


def test_calls_of_the_api_are_played_and_recorded(fan: Fan) -> None:
    assert fan.says("who") == fan.openid
    [call] = fan.calls
    assert (call["path"], call["query"]["openid"]) == ("/cgi-bin/user/info", fan.openid)
    fan.wechat.fail("/cgi-bin/user/info", errcode=48001)
    assert fan.says("who") == "refused: 48001"


def test_messages_that_come_by_themselves_are_seen_in_order(fan: Fan) -> None:
    assert fan.says("progress") == "done"
    assert fan.late == ["working on it"]
    with fan.app.app_context():
        send(fan.openid, "and more")
        send(fan.openid, [{"title": "a page", "url": "https://example.com/"}])
        send(fan.openid, ImageReply(media_id="m1"))
    assert fan.late[1:] == ["and more", "[图文] a page https://example.com/", "[图片] m1"]
    fan.passes(hours=49)
    with fan.app.app_context(), pytest.raises(ApiError, match="45015"):
        send(fan.openid, "too late")


def test_a_picture_can_be_fetched_by_the_handler(tmp_path: Path) -> None:
    def size(message: Any) -> str:
        return str(len(get_client().media.download(message.media_id).content))

    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"c" * 92)
    with Fan({"image": size}) as fan:
        assert fan.sends_image(tmp_path / "cat.png") == "100"
        assert fan.sends_image() == "70"


def test_a_module_is_taken_with_its_middleware() -> None:
    def loudly(message: Any, call_next: Any) -> Any:
        return f"{call_next(message)}!"

    module = types.ModuleType("bot")
    vars(module).update(HANDLERS=HANDLERS, MIDDLEWARE=[loudly])
    with Fan(module) as fan:
        assert fan.says("hi") == "hi!"
    with Fan(HANDLERS, middleware=[loudly]) as fan:
        assert fan.says("hi") == "hi!"


def test_an_application_is_taken_as_it_is(fan: Fan) -> None:
    with Fan(fan.app) as same:
        assert same.says("hi") == "hi"
        assert same.says("who") == same.openid
    assert fan.says("hi") == "hi"


def test_settings_are_given_and_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WECHAT_DEFAULT_REPLY", "from the environment")
    (tmp_path / ".env").write_text("WECHAT_DEFAULT_REPLY=from the file\n")
    monkeypatch.chdir(tmp_path)
    with Fan(HANDLERS) as fan, Fan(HANDLERS, WECHAT_DEFAULT_REPLY="given") as other:
        assert fan.says("settings") == "你好，消息已收到"
        assert other.says("settings") == "given"
    with pytest.raises(ConfigError, match="WECHAT_PATH"):
        Fan(HANDLERS, WECHAT_PATH="x")
    with pytest.raises(ConfigError, match="unknown message type"):
        Fan({"txet": count})
    assert list(tmp_path.iterdir()) == [tmp_path / ".env"]


@pytest.mark.parametrize("mode", ["compatible", "safe"])
def test_messages_are_sealed_where_the_settings_say_so(mode: str) -> None:
    with Fan(HANDLERS, WECHAT_ENCRYPT_MODE=mode, WECHAT_ENCODING_AES_KEY=AES_KEY) as fan:
        assert fan.says("sealed") == "sealed"


def test_the_road_is_the_real_one() -> None:
    with Fan(HANDLERS, WECHAT_TOKEN="another1") as fan:
        fan._phone._token = "aForgers1"
        assert fan.says("hi") == FAILURE_NOTICE
        assert "403" in fan.outcome.reason


def test_without_an_appsecret_there_is_no_api() -> None:
    with Fan(HANDLERS, WECHAT_APPSECRET="") as fan:
        assert fan.says("hi") == "hi"
        assert fan.says("20 s") == "还在处理，稍后回复 1 查看结果"


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Fan(HANDLERS) as fan:
        fan.says("who")
        assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ConfigError):
        Fan({"txet": count})
    assert list(tmp_path.iterdir()) == []


def test_the_fixture_is_a_fan(fan_of_a_fixture: Fan) -> None:
    assert fan_of_a_fixture.says("hi") == "hi"


fan_of_a_fixture = fixture(HANDLERS)
