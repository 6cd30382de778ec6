"""The load tool's WeChat against callbacks of the tests' own that answer whatever they are told to."""

import asyncio
import concurrent.futures
import itertools
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.callback import xml
from app.callback.seal import Seal, seal_reply
from app.callback.signature import sign
from app.sandbox.messages import text_message
from app.sandbox.phone import FAILURE_NOTICE
from tests.load.wechat import WeChat
from tests.servers import AES_KEY, APPID, TOKEN, free_port

OPENID = "oLoadFan"
MESSAGE = text_message(OPENID, "hi")
DELIVERY_SECONDS = 0.3
SEAL = Seal(AES_KEY, APPID)


class Delivery(NamedTuple):
    query: dict[str, str]
    body: bytes
    arrived: float


class Callback(socketserver.ThreadingTCPServer):
    """Answers each delivery with the next of ``answers``, raw; with the last one also all further ones.

    None is no answer until the other side hangs up.
    """

    allow_reuse_address = True
    request_queue_size = 100

    def __init__(self, *answers: bytes | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.deliveries: list[Delivery] = []
        self.hung_up: list[float] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/wechat"


class Handler(socketserver.StreamRequestHandler):
    server: Callback

    def handle(self) -> None:
        lines = list(itertools.takewhile(lambda line: line not in (b"\r\n", b""), self.rfile))
        if not lines:  # hung up before a word
            return
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"Content-Length"))
        query = dict(parse_qsl(urlsplit(lines[0].split()[1].decode()).query))
        self.server.deliveries.append(Delivery(query, self.rfile.read(length), time.monotonic()))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is not None:
            self.wfile.write(answer)
        else:
            self.rfile.read()
            self.server.hung_up.append(time.monotonic())


def http(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d Some Words\r\nServer: x\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def reply(openid: str = OPENID) -> str:
    fields = {"ToUserName": openid, "FromUserName": "gh_1", "CreateTime": "1", "MsgType": "text", "Content": "hello"}
    return f"<xml>{''.join(f'<{name}>{xml.cdata(value)}</{name}>' for name, value in fields.items())}</xml>"


HELLO = http(reply().encode())


@pytest.fixture
def callback() -> Iterator[Callable[..., Callback]]:
    """Return a function that starts a callback: ``callback(None, HELLO)``."""
    with ExitStack() as stack:

        def start(*answers: bytes | None) -> Callback:
            server = stack.enter_context(Callback(*answers))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


def wechat(*callbacks: Callback, mode: str = "normal", deliveries: int = 3, pause_seconds: float = 0.0) -> WeChat:
    return WeChat(
        [server.url for server in callbacks],
        mode,
        delivery_seconds=DELIVERY_SECONDS,
        deliveries=deliveries,
        pause_seconds=pause_seconds,
    )


Start = Callable[..., Callback]


def test_a_message_is_signed_and_its_answer_seen(callback: Start) -> None:
    server = callback(HELLO)
    with wechat(server) as sender:
        result = sender.send(OPENID, MESSAGE).result()
    ((query, body, _),) = server.deliveries
    assert query["signature"] == sign(TOKEN, query["timestamp"], query["nonce"])
    assert (query["openid"], body) == (OPENID, MESSAGE.encode())
    assert (result.shown, result.answered, result.deliveries, result.reason) == ("hello", True, 1, "")
    assert 0 < result.seconds < DELIVERY_SECONDS


@pytest.mark.parametrize("answer", [http(b""), http(b"success"), b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nsuccess"])
def test_silence_ends_it(callback: Start, answer: bytes) -> None:
    server = callback(answer)
    with wechat(server) as sender:
        assert sender.send(OPENID, MESSAGE).result()[:3] == ("", True, 1)


def test_it_hangs_up_in_time_and_delivers_again_at_once(callback: Start) -> None:
    server = callback(None, None, HELLO)
    with wechat(server, pause_seconds=60) as sender:
        result = sender.send(OPENID, MESSAGE).result()
    assert result[:3] == ("hello", True, 3)
    assert result.reason == "no answer; no answer"
    arrived = [delivery.arrived for delivery in server.deliveries]
    waited = [hung_up - began for began, hung_up in zip(arrived, server.hung_up, strict=False)]
    assert all(0.8 * DELIVERY_SECONDS < seconds < 3 * DELIVERY_SECONDS for seconds in waited)
    assert result.seconds >= 2 * DELIVERY_SECONDS


def test_a_message_may_have_a_patience_of_its_own(callback: Start) -> None:
    server = callback(None)
    with wechat(server, deliveries=1) as sender:
        longer = sender.send(OPENID, MESSAGE, 3 * DELIVERY_SECONDS)
        usual = sender.send(OPENID, MESSAGE)
        assert usual.result().seconds < 2 * DELIVERY_SECONDS
        assert longer.result().seconds >= 3 * DELIVERY_SECONDS


def test_after_the_last_delivery_the_fan_sees_the_failure_notice(callback: Start) -> None:
    server = callback(None)
    with wechat(server) as sender:
        result = sender.send(OPENID, MESSAGE).result()
    assert result[:3] == (FAILURE_NOTICE, False, 3)
    assert result.reason == "no answer; no answer; no answer"
    assert result.seconds >= 3 * DELIVERY_SECONDS
    assert len(server.deliveries) == 3


def test_all_deliveries_are_one_message_and_each_is_signed_afresh(callback: Start) -> None:
    server = callback(http(b"", 500))
    with wechat(server) as sender:
        sender.send(OPENID, MESSAGE).result()
    assert {delivery.body for delivery in server.deliveries} == {MESSAGE.encode()}
    assert len({delivery.query["signature"] for delivery in server.deliveries}) == 3


@pytest.mark.parametrize("status", [204, 302, 403, 500, 502])
def test_another_status_than_200_is_delivered_again_after_a_pause(callback: Start, status: int) -> None:
    server = callback(http(b"<html>", status), HELLO)
    with wechat(server, pause_seconds=0.2) as sender:
        result = sender.send(OPENID, MESSAGE).result()
    assert (*result[:3], result.reason) == ("hello", True, 2, f"status {status}")
    first, second = server.deliveries
    assert second.arrived - first.arrived >= 0.2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "IncompleteReadError"),
        (HELLO[:-1], "IncompleteReadError"),
        (b"hello\r\n\r\n", "ValueError"),
        (b"x" * 200_000, "LimitOverrunError"),
    ],
)
def test_a_broken_answer_is_delivered_again(callback: Start, answer: bytes, reason: str) -> None:
    server = callback(answer, HELLO)
    with wechat(server) as sender:
        result = sender.send(OPENID, MESSAGE).result()
    assert (*result[:3], result.reason) == ("hello", True, 2, reason)


def test_a_server_that_is_not_there_is_tried_three_times() -> None:
    with WeChat([f"http://127.0.0.1:{free_port()}/wechat"], pause_seconds=0.1) as sender:
        result = sender.send(OPENID, MESSAGE).result()
    assert result[:3] == (FAILURE_NOTICE, False, 3)
    assert result.reason == "; ".join(["ConnectionRefusedError"] * 3)
    assert 0.2 <= result.seconds < 5


def test_two_urls_take_turns(callback: Start) -> None:
    one, two = callback(http(b"", 500)), callback(http(b"", 500))
    with wechat(one, two) as sender:
        sender.send(OPENID, MESSAGE).result()
        assert sorted([len(one.deliveries), len(two.deliveries)]) == [1, 2]
        sender.send(OPENID, MESSAGE).result()
    assert [len(one.deliveries), len(two.deliveries)] == [3, 3]


@pytest.mark.parametrize("mode", ["compatible", "safe"])
def test_a_sealed_message_needs_a_sealed_answer(callback: Start, mode: str) -> None:
    sealed = http(seal_reply(SEAL, TOKEN, reply(), int(time.time())).encode())
    server = callback(http(b"", 500), sealed, HELLO)
    with wechat(server, mode=mode) as sender:
        result, plain = (sender.send(OPENID, MESSAGE).result() for _ in range(2))
    assert (result[:3], plain.answered) == (("hello", True, 2), False)
    encrypts = [xml.read_strictly(delivery.body)["Encrypt"] for delivery in server.deliveries]
    assert [SEAL.unseal(encrypt) for encrypt in encrypts] == [MESSAGE.encode()] * 3
    assert len(set(encrypts)) == 3
    for encrypt, (query, _, _) in zip(encrypts, server.deliveries, strict=True):
        assert query["msg_signature"] == sign(TOKEN, query["timestamp"], query["nonce"], encrypt)


def test_a_reply_for_another_fan_is_no_answer_and_ends_it(callback: Start) -> None:
    server = callback(http(reply("oSomebodyElse").encode()))
    with wechat(server) as sender:
        result = sender.send(OPENID, MESSAGE).result()
    assert result[:3] == (FAILURE_NOTICE, False, 1)
    assert re.search("ToUserName is 'oSomebodyElse'", result.reason)


def test_many_fans_wait_at_the_same_time(callback: Start) -> None:
    server = callback(None)
    with wechat(server, deliveries=1) as sender:
        started = time.monotonic()
        sent = [sender.send(f"oFan{number}", MESSAGE) for number in range(100)]
        results = [future.result() for future in sent]
    assert {result.reason for result in results} == {"no answer"}
    assert time.monotonic() - started < 20 * DELIVERY_SECONDS


def test_what_is_under_way_ends_with_the_context(callback: Start) -> None:
    server = callback(None)
    with WeChat([server.url]) as sender:
        sent = sender.send(OPENID, MESSAGE)
    with pytest.raises((concurrent.futures.CancelledError, asyncio.CancelledError)):
        sent.result(0)


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/wechat", "http://localhost:1/wechat", "http://127.0.0.1/wechat"])
def test_another_kind_of_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected http://127\.0\.0\.1:PORT/PATH"):
        WeChat([url])
