import time
from collections.abc import Callable
from typing import Any

import pytest

from app.cache import Cache, connect
from app.callback.session import Session
from app.sandbox.messages import text_message
from tests.actors import Account

Open = Callable[..., Account]


def remember(message: Any) -> str:
    words = message.session.setdefault("words", [])
    words.append(message.content)
    return " ".join(words)


def test_a_session_keeps_what_the_fan_said(account: Open) -> None:
    opened = account({"text": remember})
    assert [opened.say("a"), opened.say("b"), opened.say("c")] == ["a", "a b", "a b c"]


def test_two_messages_at_once_keep_what_both_changed() -> None:
    cache = connect("memory://", "wx0")
    first, second = Session(cache, "oFan", 60), Session(cache, "oFan", 60)
    first.data["a"], second.data["b"] = 1, 2
    first.save()
    second.save()
    third = Session(cache, "oFan", 60)
    assert third.data == {"a": 1, "b": 2}
    fourth = Session(cache, "oFan", 60)
    fourth.data["c"] = 3
    del third.data["a"]
    fourth.save()
    third.save()
    assert Session(cache, "oFan", 60).data == {"b": 2, "c": 3}


def test_each_fan_has_a_session_of_their_own(account: Open) -> None:
    opened = account({"text": remember})
    other = opened.another_fan("oSomebodyElse")
    opened.say("a")
    assert opened.deliver(text_message("oSomebodyElse", "b"), other) == "b"


def test_an_unsubscribe_ends_the_session_even_when_its_handler_fails(account: Open) -> None:
    def broken(message: Any) -> None:
        message.session["more"] = 1
        raise ValueError("broken")

    opened = account({"text": remember, ("event", "unsubscribe"): broken})
    opened.say("a")
    opened.event("unsubscribe")
    assert opened.say("b") == "b"


def test_a_session_ends_after_its_seconds(account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = account({"text": remember}, WECHAT_SESSION_SECONDS="60")
    opened.say("a")
    now = time.time()
    monkeypatch.setattr("cachelib.simple.time", lambda: now + 59)
    assert opened.say("b") == "a b"
    monkeypatch.setattr("cachelib.simple.time", lambda: now + 120)
    assert opened.say("c") == "c"


def test_what_a_failing_handler_changed_is_not_kept(account: Open) -> None:
    def broken(message: Any) -> str:
        reply = remember(message)
        if message.content == "fail":
            raise ValueError("broken")
        return reply

    opened = account({"text": broken})
    assert [opened.say("a"), opened.say("fail"), opened.say("b")] == ["a", opened.settings.error_reply, "a b"]


def test_what_json_cannot_hold_is_a_handler_error(account: Open, caplog: pytest.LogCaptureFixture) -> None:
    def keep_object(message: Any) -> str:
        message.session["object"] = object()
        return "kept"

    opened = account({"text": keep_object})
    assert opened.say("a") == opened.settings.error_reply
    assert "object is not JSON serializable" in caplog.text


def test_a_session_that_is_only_read_is_not_written(account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = account({"text": lambda message: str(message.session)})
    opened.say("a")
    writes: list[str] = []
    original = Cache.set

    def noted(cache: Cache, key: str, *rest: Any) -> Any:
        writes.append(key)
        return original(cache, key, *rest)

    monkeypatch.setattr(Cache, "set", noted)
    assert opened.say("b") == "{}"
    assert [key for key in writes if ":session:" in key] == []


def test_a_session_that_is_emptied_is_forgotten(account: Open) -> None:
    def toggle(message: Any) -> str:
        had = bool(message.session)
        message.session.clear() if had else message.session.update(a=1)
        return str(had)

    opened = account({"text": toggle})
    assert [opened.say("1"), opened.say("2"), opened.say("3")] == ["False", "True", "False"]
