"""A thread that waits in its request, over real servers: one on which it can be seen who hangs up, one where not."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import pytest
import waitress
from flask import Flask
from werkzeug.serving import make_server

from app.once.answer import DELIVERY_SECONDS, Answer
from app.once.caller import HeldConnection, WaitingThread, kind_of_caller
from app.sandbox.messages import text_message
from tests.actors import OPENID, Account
from tests.servers import free_port, listens, wait_for

Open = Callable[..., Account]


@contextmanager
def on_werkzeug(app: Flask) -> Iterator[int]:
    """Serve as ``flask run`` does, on the port that this returns."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def on_waitress(app: Flask) -> Iterator[int]:
    port = free_port()
    server = waitress.create_server(app, host="127.0.0.1", port=port, threads=8)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: listens(port))
    try:
        yield port
    finally:
        server.trigger.pull_trigger(server.close)  # in its own thread
        thread.join(5)
        server.task_dispatcher.shutdown()


SERVERS = {"werkzeug": on_werkzeug, "waitress": on_waitress}


def ask(opened: Account, port: int, message: str) -> HTTPConnection:
    """Begin a delivery on a connection of its own."""
    query, body = opened.phone.envelope(message)
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", f"/wechat?{urlencode(query)}", body, {"Content-Type": "text/xml"})
    return connection


def answer_to(connection: HTTPConnection) -> tuple[int, bytes]:
    response: HTTPResponse = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


class Slow:
    """A handler that waits until it may end."""

    def __init__(self) -> None:
        self.runs = 0
        self.started, self.end = threading.Event(), threading.Event()

    def __call__(self, message: Any) -> str:
        self.runs += 1
        self.started.set()
        self.end.wait(20)
        return f"run {self.runs}"


@pytest.fixture
def slow() -> Iterator[Slow]:
    handler = Slow()
    yield handler
    handler.end.set()


@pytest.mark.parametrize("server", SERVERS)
def test_a_delivery_that_waits_is_answered_when_the_handler_ends(account: Open, slow: Slow, server: str) -> None:
    opened, message = account({"text": slow}), text_message(OPENID, "hi")
    with SERVERS[server](opened.app) as port:
        connections = [ask(opened, port, message)]
        assert slow.started.wait(5)
        connections += [ask(opened, port, message) for _ in range(2)]
        slow.end.set()
        shown = [opened.phone.judge(answer_to(connection)[1]).shown for connection in connections]
    assert (shown, slow.runs) == (["run 1"] * 3, 1)


def test_where_it_cannot_be_seen_a_delivery_without_an_answer_ends_as_one_that_wechat_takes_for_none(
    account: Open, slow: Slow
) -> None:
    opened, message = account({"text": slow}), text_message(OPENID, "hi")
    with on_waitress(opened.app) as port:
        first = ask(opened, port, message)
        assert slow.started.wait(5)
        began, second = time.monotonic(), ask(opened, port, message)
        assert answer_to(second) == (503, b"")
        assert DELIVERY_SECONDS < time.monotonic() - began < DELIVERY_SECONDS + 1.5
        third = ask(opened, port, message)
        slow.end.set()
        assert opened.phone.judge(answer_to(third)[1]).shown == "run 1"
        assert answer_to(first) == (503, b"")  # WeChat has hung up, though nobody could see it
    assert slow.runs == 1


def test_where_it_can_be_seen_who_hangs_up_no_answer_is_spent_on_them(
    account: Open, slow: Slow, capfd: pytest.CaptureFixture[str]
) -> None:
    opened, message, output = account({"text": slow}), text_message(OPENID, "hi"), []
    with on_werkzeug(opened.app) as port:
        first = ask(opened, port, message)
        assert slow.started.wait(5)
        first.close()
        slow.end.set()

        def logged() -> str:
            output.append(capfd.readouterr().err)
            return "".join(output)

        wait_for(lambda: "delivery=1 outcome=waited" in logged())
        assert opened.phone.judge(answer_to(ask(opened, port, message))[1]).shown == "run 1"
    assert "delivery=2 outcome=repeated" in logged()
    assert slow.runs == 1


def test_a_thread_that_waits_is_let_go_at_once_when_its_caller_hangs_up(
    account: Open, slow: Slow, capfd: pytest.CaptureFixture[str]
) -> None:
    opened, message = account({"text": slow}), text_message(OPENID, "hi")
    with on_werkzeug(opened.app) as port:
        first = ask(opened, port, message)
        assert slow.started.wait(5)
        second = ask(opened, port, message)
        wait_for(lambda: held(opened) == 1)
        began = time.monotonic()
        second.close()
        wait_for(lambda: held(opened) == 0)
        assert time.monotonic() - began < 1
        slow.end.set()
        assert opened.phone.judge(answer_to(first)[1]).shown == "run 1"


def held(opened: Account) -> int:
    """Return how many deliveries the figures say are held."""
    lines = opened.client.get("/metrics").text.splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("wechat_held_deliveries "))


class Noted:
    """What the road does with a delivery's answer, noted."""

    def __init__(self) -> None:
        self.noted: list[tuple[int, Answer]] = []

    def reply(self, answer: Answer) -> Any:
        raise AssertionError("the thread itself makes the reply")

    def note(self, number: int, answer: Answer) -> None:
        self.noted.append((number, answer))


def test_a_thread_gets_its_answer_and_notes_it_itself() -> None:
    ending = Noted()
    caller, answer = WaitingThread(ending, {}), Answer("<xml/>", "replied")
    threading.Timer(0.05, caller.reply, (2, answer)).start()
    assert caller.wait() is answer
    assert ending.noted == []


def test_a_thread_that_was_let_go_has_no_answer_and_that_is_noted() -> None:
    ending = Noted()
    caller = WaitingThread(ending, {})
    caller.drop(2, Answer("", "waited"))
    assert caller.wait() is None
    assert ending.noted == [(2, Answer("", "waited"))]


@pytest.mark.parametrize("name", ["werkzeug.socket", "gunicorn.socket"])
def test_a_server_that_shows_its_connection_lets_it_be_seen_who_hangs_up(name: str) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        caller = WaitingThread(Noted(), {name: ours})
        assert (caller.is_seen, caller.hold(), caller.is_gone()) == (True, ours.fileno(), False)
        theirs.send(b"more")
        assert not caller.is_gone()
        theirs.close()
        assert caller.is_gone()


def test_on_another_server_nobody_is_ever_gone() -> None:
    caller = WaitingThread(Noted(), {})
    assert (caller.is_seen, caller.hold(), caller.is_gone()) == (False, -1, False)


def test_a_connection_is_held_under_uwsgi_alone_and_not_over_its_own_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    uwsgi = ModuleType("uwsgi")
    assert kind_of_caller() is WaitingThread
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    for options, kind in (({}, HeldConnection), ({"https-socket": b"127.0.0.1:443"}, WaitingThread)):
        monkeypatch.setattr(uwsgi, "opt", options, raising=False)
        assert kind_of_caller() is kind
