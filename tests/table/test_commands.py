"""Commands with arguments: what they match, what they refuse, and how they are shown."""

import functools
import re
from typing import Any

import pytest

from app.table.commands import command, help_from
from app.table.rows import row_of
from app.testing import Fan


@pytest.mark.parametrize(
    ("usage", "text", "expected"),
    [
        ("天气 <city>", "天气 北京", {"city": "北京"}),
        ("天气 <city>", "天气北京", {"city": "北京"}),
        ("天气 <city>", "天气\u3000北京", {"city": "北京"}),
        ("天气 <city>", "天气", None),
        ("天气 <city>", "天气 北京 3", None),
        ("天气 <city>", "明天天气 北京", None),
        ("天气 <city> [days:int]", "天气 北京 3", {"city": "北京", "days": "3"}),
        ("天气 <city> [days:int]", "天气 北京", {"city": "北京", "days": None}),
        ("天气 <city> [days:int]", "天气 北京 三天", None),
        ("天气 [city]", "天气", {"city": None}),
        ("天气 [city]", "天气北京", {"city": "北京"}),
        ("排名 <n:int>", "排名3", {"n": "3"}),
        ("排名 <n:int>", "排名-3", {"n": "-3"}),
        ("weather <city>", "Weather Paris", {"city": "Paris"}),
        ("weather <city>", "weatherParis", None),
        ("set alarm <at>", "set  ALARM 7:30", {"at": "7:30"}),
        ("翻译 <text...>", "翻译 good  morning\nto you", {"text": "good  morning\nto you"}),
        ("翻译 <to> <text...>", "翻译 fr 你 好", {"to": "fr", "text": "你 好"}),
        ("记 [text...]", "记", {"text": None}),
        ("订 <城市>", "订 上海", {"城市": "上海"}),
        ("a.b+ <x>", "aXb <x>", None),
        ("a.b+ <x>", "a.b+ 1", {"x": "1"}),
        ("签到", "签到", {}),
        ("签到", "签到了", None),
    ],
)
def test_what_a_command_takes(usage: str, text: str, expected: dict[str, str | None] | None) -> None:
    found = command(usage).fullmatch(text)
    assert (found and found.groupdict()) == expected


@pytest.mark.parametrize(
    "usage",
    [
        "",
        "  ",
        "<city>",
        "天气 <>",
        "天气 <city",
        "天气 city>",
        "天气 <a b>",
        "天气 <1a>",
        "天气 <city:float>",
        "天气 [a] <b>",
        "天气 <city> 明天",
        "翻译 <text...> <to>",
        "天气 <a> <a>",
        "天气 (x)",
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_is_expected(usage: str) -> None:
    with pytest.raises(ValueError, match="expected words"):
        command(usage)


def test_a_text_of_many_spaces_is_no_trap() -> None:
    assert command("翻译 <to> [a] [b] [text...]").fullmatch("翻译" + " " * 2000 + "\n" * 2000) is None


def weather(message: Any) -> str:
    """今天和以后几天的天气

    More that nobody is told.
    """
    return f"{message.match['city']} {message.match['days'] or 1}"


def test_a_row_is_shown_as_its_author_wrote_it() -> None:
    assert row_of(("text", command("天气 <city>")), weather).text == "('text', command('天气 <city>'))"
    assert row_of(("text", re.compile("a(?#b)")), weather).text == "('text', re.compile('a(?#b)'))"


def test_a_command_is_a_pattern_row_and_the_help_lists_what_there_is() -> None:
    handlers: dict[Any, Any] = {
        "text": lambda message: "anything",
        ("text", command("天气 <city> [days:int]")): weather,
        ("text", command("翻译 <text...>")): lambda message: message.match["text"],
        ("text", " 签到 "): lambda message: "done",
        ("text", "部分"): functools.partial(weather),
        ("text", re.compile(r"\d+")): lambda message: "a number",
        ("event", "click", "V1"): lambda message: "clicked",
    }
    handlers["text", "帮助"] = help_from(handlers)
    with Fan(handlers) as fan:
        assert fan.says("天气 北京 3") == "北京 3"
        assert fan.says("天气北京") == "北京 1"
        assert fan.says("天气") == "anything"
        shown = "你可以发送：\n天气 <city> [days]：今天和以后几天的天气\n翻译 <text>\n签到\n部分：今天和以后几天的天气"
        assert fan.says("帮助") == shown
