"""The phone against a callback of the tests' own that answers whatever it is told to."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.callback import xml
from app.callback.parse import parse
from app.callback.render import render
from app.callback.seal import Seal, seal_reply
from app.callback.signature import sign
from app.sandbox import phone as phone_module
from app.sandbox.messages import event_message, renewed, text_message
from app.sandbox.phone import FAILURE_NOTICE, Phone
from tests.servers import AES_KEY, APPID, free_port

OPENID, TOKEN = "oPhone", "token1"
MESSAGE = text_message(OPENID, "hi")


class Callback(ThreadingHTTPServer):
    """Answers each POST with the next of ``answers``: (status, body), or None for nothing until the phone hangs up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, bytes] | None] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/wechat"


class Handler(BaseHTTPRequestHandler):
    server: Callback

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((dict(parse_qsl(urlsplit(self.path).query)), body))
        answer = self.server.answers.pop(0)
        if answer is None:
            self.server.closing.wait(30)
            return
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(answer[1])))
        self.end_headers()
        self.wfile.write(answer[1])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def callback() -> Iterator[Callback]:
    with Callback() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def phone(callback: Callback) -> Iterator[Phone]:
    with Phone(callback.url, TOKEN, OPENID) as opened:
        yield opened


def reply(content: Any = "hello") -> bytes:
    return render(content, parse(xml.read(MESSAGE.encode())), int(time.time())).encode()


def test_a_message_is_signed_as_wechat_does(callback: Callback, phone: Phone) -> None:
    callback.answers = [(200, reply())]
    outcome = phone.deliver(MESSAGE)
    ((query, body),) = callback.requests
    assert query["signature"] == sign(TOKEN, query["timestamp"], query["nonce"])
    assert (query["openid"], body) == (OPENID, MESSAGE.encode())
    assert (outcome.shown, outcome.answered, outcome.deliveries) == ("hello", True, 1)


@pytest.mark.parametrize("body", [b"", b"success"])
def test_silence_shows_nothing(callback: Callback, phone: Phone, body: bytes) -> None:
    callback.answers = [(200, body)]
    assert phone.deliver(MESSAGE)[:3] == ("", True, 1)


@pytest.mark.parametrize("status", [201, 204, 302, 403, 500, 502])
def test_a_status_that_is_not_200_counts_as_no_answer(callback: Callback, phone: Phone, status: int) -> None:
    callback.answers = [(status, b""), (200, reply())]
    assert phone.deliver(MESSAGE)[:3] == ("hello", True, 2)


def test_after_three_deliveries_the_fan_sees_the_failure_notice(callback: Callback, phone: Phone) -> None:
    callback.answers = [(500, b"")] * 4
    outcome = phone.deliver(MESSAGE)
    assert outcome[:3] == (FAILURE_NOTICE, False, 3)
    assert outcome.reason == "the callback answered with status 500"
    assert len(callback.requests) == 3
    assert len({(query["signature"], body) for query, body in callback.requests}) == 1


def test_an_answer_that_takes_too_long_is_not_waited_for(
    callback: Callback, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert phone_module.DELIVERY_SECONDS == 5
    monkeypatch.setattr(phone_module, "DELIVERY_SECONDS", 0.3)
    callback.answers = [None, None, (200, reply())]
    outcome = phone.deliver(MESSAGE)
    assert outcome[:3] == ("hello", True, 3)
    assert outcome.seconds >= 0.6


def test_a_callback_that_is_not_there_is_named() -> None:
    with Phone(f"http://127.0.0.1:{free_port()}/wechat", TOKEN, OPENID) as phone:
        outcome = phone.deliver(MESSAGE)
    assert outcome[:3] == (FAILURE_NOTICE, False, 3)
    assert "are the service and nginx running" in outcome.reason


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b'{"errcode": 0}',
        b"<html><body>error</body></html>",
        reply().replace(OPENID.encode(), b"oSomebodyElse"),
        reply().replace(b"<MsgType><![CDATA[text", b"<MsgType><![CDATA[words"),
        reply().replace(b"<Content>", b"<Words>").replace(b"</Content>", b"</Words>"),
        reply().replace(b"hello", b"x" * 2049),
        reply([{"title": "t"}]).replace(b"<ArticleCount>1", b"<ArticleCount>2"),
        reply().replace(b"CreateTime>", b"Time>"),
    ],
)
def test_what_is_no_valid_reply_shows_the_failure_notice_at_once(callback: Callback, phone: Phone, body: bytes) -> None:
    callback.answers = [(200, body)]
    outcome = phone.deliver(MESSAGE)
    assert outcome[:3] == (FAILURE_NOTICE, False, 1)
    assert outcome.reason.startswith("the answer is not a valid reply: ")


SEAL = Seal(AES_KEY, APPID)


@pytest.mark.parametrize("mode", ["compatible", "safe"])
def test_a_sealed_message_needs_a_sealed_reply(callback: Callback, mode: str) -> None:
    sealed = seal_reply(SEAL, TOKEN, reply().decode(), int(time.time())).encode()
    callback.answers = [(200, sealed), (200, reply()), (200, sealed.replace(b"<MsgSignature><![CDATA[", b"\\g<0>0"))]
    with Phone(callback.url, TOKEN, OPENID, mode, SEAL) as phone:
        outcomes = [phone.deliver(MESSAGE) for _ in range(3)]
    query, body = callback.requests[0]
    fields = xml.read_strictly(body)
    assert SEAL.unseal(fields["Encrypt"]) == MESSAGE.encode()
    assert query["msg_signature"] == sign(TOKEN, query["timestamp"], query["nonce"], fields["Encrypt"])
    assert ("Content" in fields) == (mode == "compatible")
    assert [outcome.answered for outcome in outcomes] == [True, False, False]


@pytest.mark.parametrize(
    ("event", "scene", "expected"),
    [
        ("subscribe", "7", {"Event": "subscribe", "EventKey": "qrscene_7"}),
        ("scan", "7", {"Event": "SCAN", "EventKey": "7"}),
        ("subscribe", None, {"Event": "subscribe"}),
    ],
)
def test_a_qr_code_comes_as_wechat_sends_it(event: str, scene: str | None, expected: dict[str, str]) -> None:
    fields = xml.read_strictly(event_message(OPENID, event, scene=scene).encode())
    assert expected.items() <= fields.items()
    assert ("Ticket" in fields) == (scene is not None)


def test_a_recorded_message_becomes_a_new_one() -> None:
    old = "<xml><FromUserName><![CDATA[oOld]]></FromUserName><CreateTime>1</CreateTime><MsgId>2</MsgId><A>3</A></xml>"
    new, other = (xml.read_strictly(renewed(old, openid).encode()) for openid in (None, "oNew"))
    assert (new["FromUserName"], other["FromUserName"], new["A"]) == ("oOld", "oNew", "3")
    assert new["MsgId"] != other["MsgId"]
    assert abs(int(new["CreateTime"]) - time.time()) < 60
