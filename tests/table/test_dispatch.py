import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.table import load
from app.table.dispatch import Table
from tests.actors import Account

Open = Callable[..., Account]


def named(name: str) -> Callable[[Any], str]:
    return lambda message: name


ROWS = {
    "text": named("any text"),
    ("text", " 帮助 "): named("help"),
    ("text", re.compile(r"天气\s*(?P<city>\S+)")): lambda message: message.match["city"],
    ("text", re.compile("天.*")): named("second pattern"),
    ("event", "subscribe"): named("follow"),
    ("event", "subscribe", "poster-7"): named("follow by poster"),
    ("event", "SCAN", "poster-7"): named("scan of poster"),
    ("Event", "click", "V1001_TODAY"): named("today"),
    ("event", re.compile("card_.*")): named("any card event"),
    "event": named("any event"),
    "*": named("anything"),
}


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("hello", "any text"),
        ("帮助", "help"),
        ("  帮助\n", "help"),
        ("帮助我", "any text"),
        ("天气 北京", "北京"),
        (" 天气北京 ", "北京"),
        ("天黑了", "second pattern"),
        ("今天气好", "any text"),
    ],
)
def test_a_text_goes_to_the_most_specific_row(account: Open, text: str, reply: str) -> None:
    assert account(ROWS).say(text) == reply


@pytest.mark.parametrize(
    ("event", "key", "scene", "reply"),
    [
        ("subscribe", None, None, "follow"),
        ("subscribe", None, "poster-8", "follow"),
        ("subscribe", None, "poster-7", "follow by poster"),
        ("SCAN", None, "poster-7", "scan of poster"),
        ("scan", None, "poster-8", "any event"),
        ("CLICK", "V1001_TODAY", None, "today"),
        ("CLICK", "v1001_today", None, "any event"),
        ("card_pass_check", None, None, "any card event"),
        ("an_event_of_tomorrow", None, None, "any event"),
    ],
)
def test_an_event_goes_to_the_most_specific_row(
    account: Open, event: str, key: str | None, scene: str | None, reply: str
) -> None:
    assert account(ROWS).event(event, key, scene) == reply


def test_an_event_that_no_library_knows_has_a_row_like_any_other(account: Open) -> None:
    assert (
        account({("event", "an_event_of_tomorrow"): named("known here")}).event("an_Event_of_tomorrow") == "known here"
    )


def test_the_star_takes_what_is_left(account: Open) -> None:
    opened = account({"*": lambda message: f"{message.msg_type} {message.event}"})
    assert [opened.say("hi"), opened.event("VIEW", "https://x")] == ["text None", "event view"]


def test_middleware_runs_from_the_outermost_in_and_may_change_the_value(account: Open) -> None:
    def outer(message: Any, call_next: Any) -> str:
        return f"outer({call_next(message)})"

    def inner(message: Any, call_next: Any) -> str:
        return f"inner({call_next(message)})"

    assert account({"text": named("reply")}, [outer, inner]).say("hi") == "outer(inner(reply))"


def test_middleware_may_answer_without_the_handler(account: Open) -> None:
    ran: list[Any] = []
    assert account({"text": ran.append}, [lambda message, call_next: "closed"]).say("hi") == "closed"
    assert ran == []


def test_middleware_may_pass_on_another_message() -> None:
    table = Table({"*": lambda message: f"handled {message}"}, [lambda message, call_next: call_next("another")])
    assert table.rows[0].call("one") == "handled another"


def test_middleware_sees_what_no_row_takes(account: Open) -> None:
    assert account({"image": named("x")}, [lambda message, call_next: call_next(message) or "seen"]).say("hi") == "seen"


def test_a_module_that_does_not_exist_is_named(account: Open) -> None:
    with pytest.raises(ConfigError, match="WECHAT_HANDLERS=no_such_bot: no such module"):
        account(WECHAT_HANDLERS="no_such_bot")


def test_a_module_without_handlers_is_named(account: Open) -> None:
    with pytest.raises(ConfigError, match=r"WECHAT_HANDLERS=tests\.actors has no HANDLERS"):
        account(WECHAT_HANDLERS="tests.actors")


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("HANDLERS = {", r"SyntaxError: '\{' was never closed \(broken_bot.py, line 1\)"),
        ("import not_installed", r"ModuleNotFoundError: No module named 'not_installed' \(.*broken_bot.py, line 1\)"),
        ("x = 1\nHANDLERS = {1 / 0: print}", r"ZeroDivisionError: division by zero \(.*broken_bot.py, line 2\)"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_named_with_the_line(
    account: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, named: str
) -> None:
    (tmp_path / "broken_bot.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"WECHAT_HANDLERS=broken_bot cannot be loaded: {named}"):
        account(WECHAT_HANDLERS="broken_bot")


def test_a_module_that_is_slow_to_load_is_named_with_its_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "heavy_bot.py").write_text("HANDLERS = {}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(load, "_SLOW_SECONDS", 0.0)
    load.load("heavy_bot")
    assert "WECHAT_HANDLERS=heavy_bot took 0.0 s to load" in caplog.text
