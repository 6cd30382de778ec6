import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from app.handlers import chat
from tests.actors import OPENID, Account
from tests.handlers import model_server
from tests.handlers.model_server import ModelServer, fails, hangs_up, says, sends
from tests.servers import ROOT, free_port

KEY = "sk-0123456789abcdef"
PROMPT = "回答要简短"
TIMEOUT_SECONDS = 0.3
# The longest that an answer within TIMEOUT_SECONDS may take on a busy machine; the server stalls for 20 s.
BOUND_SECONDS = 5.0
HTML = b"<html>login</html>"


class Fan:
    """Somebody who talks to the model."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.session: dict[str, Any] = {}

    def say(self, text: str | None) -> str:
        with self.app.app_context():
            return chat.answer(SimpleNamespace(content=text, session=self.session, openid=OPENID))

    @property
    def dialogue(self) -> list[str]:
        return [said["content"] for said in self.session.get("chat", [])]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(chat, "RETRY_SECONDS", 0.0)
    with ModelServer() as opened:
        yield opened


@pytest.fixture(autouse=True)
def lines(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[chat._Line]]:
    """Gather the lines that a test opens, and close them after it; the server's end waits for that."""
    opened: list[chat._Line] = []
    real_init = chat._Line.__init__

    def init(line: chat._Line, *args: str) -> None:
        real_init(line, *args)
        opened.append(line)

    monkeypatch.setattr(chat._Line, "__init__", init)
    chat._line_to.cache_clear()
    yield opened
    chat._line_to.cache_clear()
    for line in opened:
        asyncio.run_coroutine_threadsafe(line.client.close(), line.loop).result()
        line.loop.call_soon_threadsafe(line.loop.stop)
        line.thread.join()
        line.loop.close()


@pytest.fixture
def fan(server: ModelServer) -> Fan:
    app = Flask("chat")
    app.config.update(
        WECHAT_CHAT_BASE_URL=server.base_url,
        WECHAT_CHAT_API_KEY=KEY,
        WECHAT_CHAT_MODEL="model-1",
        WECHAT_CHAT_PROMPT=PROMPT,
    )
    return Fan(app)


def test_a_text_is_answered_by_the_model(fan: Fan, server: ModelServer) -> None:
    server.then(says(" 你好！\n"))
    assert fan.say("在吗") == "你好！"
    [request] = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.authorization == f"Bearer {KEY}"
    assert request.body == {
        "model": "model-1",
        "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": "在吗"}],
    }


@pytest.mark.parametrize(
    "thinking",
    [
        "<think>\n想一想\n</think>\n\n{}",
        "<think>" + "想" * 2000 + "</think>{}",
        "想一想</think>{}",
        "<details open><summary>思考</summary>想</details>{}",
        "<THINK><think>想</think>想</THINK>{}",
        "{}<think>还在想",
    ],
)
def test_what_a_model_thinks_is_neither_said_nor_kept(thinking: str, fan: Fan, server: ModelServer) -> None:
    server.then(says(thinking.format("答案是四。")))
    assert fan.say("二加二") == "答案是四。"
    assert fan.dialogue == ["二加二", "答案是四。"]


def test_a_model_that_was_cut_off_while_it_thought_has_no_answer(fan: Fan, server: ModelServer) -> None:
    server.then(says("<think>还在想"))
    assert fan.say("二加二") == "这个问题我答不上来，请换个说法"
    assert fan.dialogue == []


def test_the_model_hears_the_dialogue_so_far(fan: Fan, server: ModelServer) -> None:
    server.then(says("你好，小明"), says("小明"))
    fan.say("我叫小明")
    assert fan.say("我叫什么") == "小明"
    assert server.requests[1].body["messages"] == [
        {"role": "system", "content": PROMPT},
        {"role": "user", "content": "我叫小明"},
        {"role": "assistant", "content": "你好，小明"},
        {"role": "user", "content": "我叫什么"},
    ]


def test_the_prompt_is_not_kept_in_the_session(fan: Fan) -> None:
    fan.say("hi")
    assert fan.session == {"chat": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"}]}


def test_another_fan_has_another_dialogue(fan: Fan, server: ModelServer) -> None:
    fan.say("first")
    Fan(fan.app).say("second")
    assert server.requests[1].texts == [PROMPT, "second"]


def test_an_answer_with_its_text_alone_is_enough(fan: Fan, server: ModelServer) -> None:
    server.then(sends(b'{"choices": [{"message": {"content": "hello"}}]}', "text/plain"))
    assert fan.say("hi") == "hello"


def test_a_dialogue_keeps_the_last_turns(fan: Fan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "MAX_TURNS", 3)
    for number in range(5):
        fan.say(f"question {number}")
    assert fan.dialogue == ["question 2", "ok", "question 3", "ok", "question 4", "ok"]


def test_a_dialogue_keeps_to_its_bytes_in_whole_turns(fan: Fan, server: ModelServer) -> None:
    server.then(*(says(str(number) + "答" * 600) for number in range(8)))
    for number in range(8):
        fan.say(str(number) + "问" * 300)
    # A turn is 2702 bytes, so that two fit and three do not.
    assert fan.dialogue == ["6" + "问" * 300, "6" + "答" * 600, "7" + "问" * 300, "7" + "答" * 600]


def test_a_huge_text_is_cut_on_a_whole_character(fan: Fan, server: ModelServer) -> None:
    fan.say("字" * 100_000)
    assert server.requests[0].texts[1] == fan.dialogue[0] == "字" * 682


def test_a_huge_answer_is_returned_whole_and_kept_as_the_fan_sees_it(fan: Fan, server: ModelServer) -> None:
    server.then(says("字" * 100_000))
    assert fan.say("说下去") == "字" * 100_000
    assert fan.dialogue == ["说下去", "字" * 682]


def test_half_a_character_in_an_answer_is_dropped(fan: Fan, server: ModelServer) -> None:
    server.then(says("笑\ud83d"))
    assert fan.say("笑一个") == "笑"
    assert json.dumps(fan.session, ensure_ascii=False).encode()


def test_a_message_without_text_is_asked_as_an_empty_one(fan: Fan, server: ModelServer) -> None:
    assert fan.say(None) == "ok"
    assert server.requests[0].texts == [PROMPT, ""]


def test_a_question_without_an_answer_is_not_kept(fan: Fan, server: ModelServer) -> None:
    server.then(says("one"), fails(400), says("three"))
    fan.say("1")
    assert fan.say("2") == chat._FAILURES[400][0]
    fan.say("3")
    assert fan.dialogue == ["1", "one", "3", "three"]
    assert server.requests[2].texts == [PROMPT, "1", "one", "3"]


@pytest.mark.parametrize(
    ("status", "code", "reply", "advice"),
    [
        (400, "context_length_exceeded", "没有接受", "it refuses the content"),
        (400, "data_inspection_failed", "没有接受", "it refuses the content"),
        (401, "invalid_api_key", "密钥不对", "check WECHAT_CHAT_API_KEY"),
        (402, "invalid_request_error", "余额不足", "top up"),
        (403, "unsupported_country", "没有授权", "may not use WECHAT_CHAT_MODEL"),
        (404, "model_not_found", "没有这个模型", "check WECHAT_CHAT_MODEL"),
        (422, None, "没有接受", "it refuses the content"),
        (429, "insufficient_quota", "问的人太多", "quota"),
        (500, "server_error", "出了故障", "the server's"),
        (503, None, "出了故障", "the server's"),
    ],
)
def test_an_error_is_told_to_the_fan_and_to_the_operator(
    fan: Fan,
    server: ModelServer,
    caplog: pytest.LogCaptureFixture,
    status: int,
    code: str | None,
    reply: str,
    advice: str,
) -> None:
    server.then(fails(status, code))
    assert reply in fan.say("hi")
    assert f"status {status}, code {code})" in caplog.text
    assert advice in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


def test_each_failure_has_its_own_reply_and_its_own_advice() -> None:
    replies, advice = zip(*chat._FAILURES.values(), strict=True)
    assert len(set(replies)) == len(set(advice)) == len(chat._FAILURES)


@pytest.mark.parametrize(
    "step",
    [
        model_server.stalls,
        model_server.stalls_midway,
        model_server.sends_empty_lines,
        model_server.sends_headers_slowly,
    ],
)
def test_a_server_that_takes_too_long_is_given_up(
    fan: Fan, server: ModelServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: Any
) -> None:
    fan.say("before")
    server.then(step, says("here again"))
    with monkeypatch.context() as patch:
        patch.setattr(chat, "TIMEOUT_SECONDS", TIMEOUT_SECONDS)
        started = time.monotonic()
        assert fan.say("hi") == chat._FAILURES["too slow"][0]
    assert TIMEOUT_SECONDS <= time.monotonic() - started < BOUND_SECONDS
    assert "too slow (0.3 s): choose a faster model" in caplog.text
    assert fan.dialogue == ["before", "ok"]
    assert fan.say("hi") == "here again"
    assert len(server.requests) == 3


def test_a_second_attempt_has_the_time_that_is_left(
    fan: Fan, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    monkeypatch.setattr(chat, "RETRY_SECONDS", BOUND_SECONDS)
    server.then(fails(503))
    started = time.monotonic()
    assert fan.say("hi") == chat._FAILURES["too slow"][0]
    assert time.monotonic() - started < BOUND_SECONDS


@pytest.mark.parametrize("step", [hangs_up, fails(500), fails(503, Retry_After="100")])
def test_a_passing_failure_is_tried_again(fan: Fan, server: ModelServer, step: Any) -> None:
    server.then(step, says("second attempt"))
    started = time.monotonic()
    assert fan.say("hi") == "second attempt"
    assert time.monotonic() - started < BOUND_SECONDS
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("step", "attempts"), [(hangs_up, 2), (fails(500), 2), (fails(429, Retry_After="100"), 1), (fails(401), 1)]
)
def test_a_lasting_failure_is_told_after_its_attempts(fan: Fan, server: ModelServer, step: Any, attempts: int) -> None:
    server.then(step)
    assert fan.say("hi") in {reply for reply, _ in chat._FAILURES.values()}
    assert len(server.requests) == attempts


def test_a_server_that_is_not_there_is_told(fan: Fan, caplog: pytest.LogCaptureFixture) -> None:
    fan.app.config["WECHAT_CHAT_BASE_URL"] = f"http://127.0.0.1:{free_port()}/v1"
    assert fan.say("hi") == chat._FAILURES["not reached"][0]
    assert "not reached (APIConnectionError from ConnectError" in caplog.text
    assert "ConnectionRefusedError): check WECHAT_CHAT_BASE_URL" in caplog.text


@pytest.mark.parametrize(
    "step",
    [
        sends(HTML, "text/html"),
        sends(HTML),
        sends(b'"\xff"'),
        sends(b""),
        sends(b"null"),
        sends(b"[1]"),
        sends(b'"text"'),
        sends(b"{}"),
        sends(b'{"error": {"message": "no"}}'),
        sends(b'{"choices": []}'),
        sends(b'{"choices": {}}'),
        sends(b'{"choices": [{}]}'),
        sends(b'{"choices": ["text"]}'),
        sends(b'{"choices": [{"message": null}]}'),
    ],
)
def test_an_answer_that_is_no_completion_is_told(
    fan: Fan, server: ModelServer, caplog: pytest.LogCaptureFixture, step: Any
) -> None:
    server.then(step)
    assert fan.say("hi") == chat._FAILURES["not understood"][0]
    assert "check WECHAT_CHAT_BASE_URL; most end in /v1" in caplog.text
    assert not fan.dialogue


@pytest.mark.parametrize("content", [None, "", " \n", "\ud83d", ["text"]])
def test_an_answer_without_text_is_told(
    fan: Fan, server: ModelServer, caplog: pytest.LogCaptureFixture, content: Any
) -> None:
    server.then(says(content, "content_filter"))
    assert fan.say("hi") == chat._FAILURES["empty"][0]
    assert "empty (finish_reason content_filter): the model" in caplog.text
    assert not fan.dialogue


@pytest.mark.parametrize("name", ["WECHAT_CHAT_BASE_URL", "WECHAT_CHAT_MODEL"])
def test_without_a_setting_the_fan_hears_so_and_nobody_is_asked(
    fan: Fan, server: ModelServer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    fan.app.config[name] = ""
    assert fan.say("hi") == chat._FAILURES["not set up"][0]
    assert "set WECHAT_CHAT_BASE_URL and WECHAT_CHAT_MODEL" in caplog.text
    assert not server.requests


def test_without_the_library_the_fan_hears_so(
    fan: Fan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openai", None)
        assert fan.say("hi") == chat._FAILURES["not installed"][0]
    assert "(ModuleNotFoundError): run .venv/bin/pip install" in caplog.text
    assert fan.say("hi") == "ok"


def test_a_server_that_wants_no_key_gets_none_from_elsewhere(
    fan: Fan, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-something-else")
    fan.app.config["WECHAT_CHAT_API_KEY"] = ""
    assert fan.say("hi") == "ok"
    assert server.requests[0].authorization == "Bearer none"


def test_the_log_holds_neither_the_key_nor_what_was_said(
    fan: Fan, server: ModelServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    quoted = fails(400, "x" * 500, f"you sent 秘密 with {KEY}")
    for step in (says("回信"), quoted, hangs_up, sends("回信".encode()), says(None)):
        server.then(step)
        fan.say("秘密")
    monkeypatch.setattr(chat, "TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    server.then(model_server.stalls)
    fan.say("秘密")
    reasons = re.findall(r"no answer from the model, ([\w ]+) \(", caplog.text)
    assert reasons == ["400", "not reached", "not understood", "empty", "too slow"]
    logged = caplog.text + "".join(map(repr, (vars(record) for record in caplog.records)))
    assert KEY not in logged
    assert "秘密" not in logged
    assert "回信" not in logged
    assert "x" * 50 not in logged
    assert server.base_url not in logged


def test_many_at_once_share_one_line(fan: Fan, lines: list[chat._Line]) -> None:
    start = threading.Barrier(8)

    def ask(number: int) -> str:
        start.wait()
        return Fan(fan.app).say(str(number))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == ["ok"] * 8
    assert len(lines) == 1


def test_a_slow_answer_holds_up_nobody_else(fan: Fan, server: ModelServer) -> None:
    server.then(model_server.stalls, says("quick"))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(fan.say, "hard question")
        assert server.asked.wait(BOUND_SECONDS)
        assert Fan(fan.app).say("easy question") == "quick"
        assert not slow.done()
        server.released.set()
        assert slow.result() == "quick"


def test_another_key_is_another_line(fan: Fan, server: ModelServer, lines: list[chat._Line]) -> None:
    fan.say("hi")
    fan.say("hi")
    fan.app.config["WECHAT_CHAT_API_KEY"] = "sk-new"
    fan.say("hi")
    assert [request.authorization for request in server.requests] == [f"Bearer {KEY}"] * 2 + ["Bearer sk-new"]
    assert len(lines) == 2


def test_the_library_is_not_loaded_before_somebody_asks() -> None:
    code = "import sys, app.handlers.chat; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_fan_talks_to_the_model_through_the_callback(
    account: Callable[..., Account], server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.then(says("你好，小明"), fails(429), says("小明"))
    opened = account(
        {"text": chat.answer},
        WECHAT_CHAT_BASE_URL=server.base_url,
        WECHAT_CHAT_API_KEY=KEY,
        WECHAT_CHAT_MODEL="model-1",
    )
    assert opened.say("我叫小明") == "你好，小明"
    assert opened.say("在吗") == chat._FAILURES[429][0]
    assert opened.say("我叫什么") == "小明"
    assert server.requests[2].texts[1:] == ["我叫小明", "你好，小明", "我叫什么"]
