"""The test that is made of a message of the phone: each is run against the handlers that made it."""

import sys
import types
from typing import Any

import pytest

from app.config import Settings
from app.sandbox import messages
from app.sandbox.as_test import as_test
from app.sandbox.trace import Trace
from tests.actors import MODULE, OPENID

SETTINGS = Settings(token="token", handlers=MODULE)


def guess(message: Any) -> str:
    return f"{message.session.get('number')}"


HANDLERS = {
    "text": lambda message: message.content,
    ("text", "guess"): guess,
    "image": lambda message: message.media_id,
    "voice": lambda message: message.recognition,
    "video": lambda message: message.media_id,
    "location": lambda message: f"{message.label} {float(message.location_x):.1f}",
    "link": lambda message: f"{message.title} {message.url} {message.description}",
    "event": lambda message: f"{message.event} {message.event_key}",
    ("event", "subscribe"): lambda message: f"follows {message.scene}",
    ("event", "scan"): lambda message: f"scans {message.scene}",
    ("event", "location_select"): lambda message: message.label,
}


def traced(xml: str, shown: str, **known: Any) -> Trace:
    answer: dict[str, Any] = {"shown": shown, "is_failure": False, "at": 1000.0}
    lacking: dict[str, Any] = {"fault": "", "row": None, "deliveries": [], "lines": [], "session": {}, "late": []}
    return Trace(**{"number": 1, "openid": OPENID, "xml": xml, "answer": answer, **lacking, **known})


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(MODULE)
    vars(module).update(HANDLERS=HANDLERS)
    monkeypatch.setitem(sys.modules, MODULE, module)


def run(test: str) -> None:
    names: dict[str, Any] = {}
    exec(test, names)
    [function] = [names[name] for name in names if name.startswith("test_")]
    function()


PLACE = {"SendLocationInfo": {**messages.place(39.9, 116.4, "天安门"), "Poiname": ""}}
ACTS = [
    (messages.text_message(OPENID, 'a "b"\n<c>]] \\'), 'a "b"\n<c>]] \\'),
    (messages.image_message(OPENID, "m1", "http://example.com/m1"), "m1"),
    (messages.voice_message(OPENID, "m2", "你好"), "你好"),
    (messages.video_message(OPENID, "m3", "t3"), "m3"),
    (messages.location_message(OPENID, 39.9, 116.4, "天安门"), "天安门 39.9"),
    (messages.link_message(OPENID, "title", "more", "https://example.com/"), "title https://example.com/ more"),
    (messages.event_message(OPENID, "subscribe"), "follows None"),
    (messages.event_message(OPENID, "subscribe", scene="poster-7"), "follows poster-7"),
    (messages.event_message(OPENID, "scan", scene="poster-7"), "scans poster-7"),
    (messages.event_message(OPENID, "click", "V1"), "click V1"),
    (messages.event_message(OPENID, "view", "https://example.com/"), "view https://example.com/"),
    (messages.event_message(OPENID, "location_select", "V2", details=PLACE), "天安门"),
]


@pytest.mark.parametrize(("xml", "shown"), ACTS, ids=[shown for _, shown in ACTS])
def test_whatever_a_fan_did_is_done_again(xml: str, shown: str) -> None:
    run(as_test(traced(xml, shown), SETTINGS))
    with pytest.raises(AssertionError):
        run(as_test(traced(xml, f"{shown}!"), SETTINGS))


def test_the_session_that_there_was_is_there_again() -> None:
    run(as_test(traced(messages.text_message(OPENID, "guess"), "42", session={"number": 42}), SETTINGS))


def test_a_default_reply_that_was_set_is_set_again() -> None:
    settings = Settings(token="token", handlers=MODULE, default_reply="您好")
    assert "WECHAT_DEFAULT_REPLY='您好'" in as_test(traced(ACTS[0][0], "您好"), settings)


def test_late_answers_are_expected_after_the_time_that_they_took() -> None:
    late = [{"msgtype": "text", "text": {"content": "at last"}, "at": 1012.3}]
    test = as_test(traced(ACTS[0][0], "", late=late), SETTINGS)
    assert "fan.passes(seconds=14)" in test
    assert "assert fan.late == ['at last']" in test


@pytest.mark.parametrize(
    ("shown", "known"),
    [
        ("", {}),
        (SETTINGS.error_reply, {}),
        (SETTINGS.busy_reply, {}),
        (SETTINGS.hold_reply, {}),
        ("", {"late": [{"msgtype": "text", "text": {"content": SETTINGS.error_reply}, "at": 1012.3}]}),
        ("hi", {"fault": "twice"}),
        ("hi", {"answer": None}),
        ("hi", {"answer": {"shown": "hi", "is_failure": True}}),
        ("hi", {"lines": ["INFO wechat message type=text outcome=picked up"]}),
    ],
)
def test_nothing_is_offered_that_would_test_nothing_or_a_failure(shown: str, known: dict[str, Any]) -> None:
    assert as_test(traced(ACTS[0][0], shown, **known), SETTINGS) == ""
