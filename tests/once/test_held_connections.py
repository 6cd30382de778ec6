"""Deliveries that a real uWSGI holds, from the shipped file: answered, hung up on, too many, and never told success."""

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from app.callback.seal import Seal
from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.conftest import SEALED
from tests.servers import AES_KEY, APPID, TOKEN, Server, environment, free_port, uwsgi, wait_for

KINDS = ("plain", "async")


class Delivery:
    """One delivery on a connection of its own."""

    def __init__(self, port: int, phone: Phone, message: str) -> None:
        query, body = phone.envelope(message)
        self.phone = phone
        self.connection = HTTPConnection("127.0.0.1", port, timeout=20)
        self.connection.request("POST", f"/wechat?{urlencode(query)}", body, {"Content-Type": "text/xml"})

    def response(self) -> tuple[HTTPResponse, bytes]:
        response = self.connection.getresponse()
        body = response.read()
        self.connection.close()
        return response, body

    def shown(self) -> str:
        """Return what the fan sees."""
        return self.phone.judge(self.response()[1]).shown


class Service:
    """A uWSGI that holds deliveries."""

    def __init__(self, folder: Path, port: int, server: Server, mode: str) -> None:
        self.folder, self.port, self.server, self._mode = folder, port, server, mode
        self._deliveries: list[Delivery] = []

    def message(self, content: str) -> Callable[[], Delivery]:
        """Return a function that delivers a message of another fan, each time it is called once more."""
        openid = f"o{secrets.token_hex(13)}"
        seal = Seal(AES_KEY, APPID) if self._mode != "normal" else None
        phone, message = Phone("", TOKEN, openid, self._mode, seal), text_message(openid, content)

        def deliver() -> Delivery:
            self._deliveries.append(Delivery(self.port, phone, message))
            return self._deliveries[-1]

        return deliver

    def hang_up(self) -> None:
        """Close what is still open."""
        for delivery in self._deliveries:
            delivery.connection.close()

    def ask(self, content: str) -> Delivery:
        """Deliver a message once."""
        return self.message(content)()

    def deliveries(self, content: str, number: int) -> list[Delivery]:
        """Deliver one message so many times at once."""
        deliver = self.message(content)
        return [deliver() for _ in range(number)]

    def end(self, name: str) -> None:
        """Let the handlers of this name end."""
        (self.folder / name).touch()

    def runs(self) -> Counter[str]:
        """Return how often the handler of each name ran."""
        runs = self.folder / "runs"
        return Counter(runs.read_text().split() if runs.exists() else ())

    def held(self) -> int:
        """Return how many deliveries both workers hold."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics") as page:
            found = re.findall(r"^wechat_held_deliveries(?:{.*})? ([\d.]+)$", page.read().decode(), re.MULTILINE)
        return int(sum(map(float, found)))

    def threads(self) -> list[int]:
        """Return how many threads each worker has."""
        children = Path(f"/proc/{self.server.process.pid}/task/{self.server.process.pid}/children").read_text()
        return [len(list(Path(f"/proc/{worker}/task").iterdir())) for worker in children.split()]

    def lines(self) -> list[dict[str, str]]:
        """Return the lines of the log about messages, each as its fields."""
        lines = [line for line in self.server.output().splitlines() if " message type=" in line]
        return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Return a function that starts a service: ``serve("safe", {"max-fd = 10000": "max-fd = 100"})``."""
    with ExitStack() as stack:

        def start(mode: str = "normal", replacements: dict[str, str] | None = None, **settings: Any) -> Service:
            sealed = SEALED if mode != "normal" else {}
            handlers = {"WECHAT_HANDLERS": "tests.once.held_handlers", "WECHAT_ENCRYPT_MODE": mode}
            port, env = free_port(), environment(**handlers, **sealed, **settings)
            server = stack.enter_context(uwsgi(tmp_path, env, port=port, replacements=replacements))
            service = Service(tmp_path, port, server, mode)
            stack.callback(service.hang_up)
            return service

        yield start


def test_hundreds_are_held_without_a_thread_and_answered_when_the_answer_is_there(
    serve: Callable[..., Service],
) -> None:
    service = serve()
    idle = service.threads()
    held = [service.ask("async all") for _ in range(300)]
    wait_for(lambda: service.held() == 300)
    began = time.monotonic()
    assert [service.ask("hi").shown() for _ in range(20)] == ["quick"] * 20
    assert time.monotonic() - began < 2
    # Beside the threads that take requests: the loop, and those that bring answers.
    assert max(service.threads()) <= max(idle) + 20
    service.end("all")
    assert {delivery.shown() for delivery in held} == {"answer to all"}
    assert service.runs() == {"all": 300}
    wait_for(lambda: service.held() == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_all_deliveries_of_a_message_are_answered_though_one_worker_runs_the_handler(
    serve: Callable[..., Service], kind: str
) -> None:
    service = serve()
    # Some more than the workers take inline, so that plain handlers run in threads, too.
    for number in range(40):
        name = f"n{number}"
        deliveries = service.deliveries(f"{kind} {name}", 3)
        wait_for(lambda: service.runs()[name] == 1)  # noqa: B023
        service.end(name)
        began = time.monotonic()
        assert [delivery.shown() for delivery in deliveries] == [f"answer to {name}"] * 3
        assert time.monotonic() - began < 1
    assert set(service.runs().values()) == {1}


def test_plain_handlers_beyond_those_inline_are_held_and_answered_once(serve: Callable[..., Service]) -> None:
    service = serve()
    asked = [service.ask("plain all") for _ in range(100)]
    wait_for(lambda: service.runs()["all"] == 100)
    assert service.held() >= 100 - 2 * 16
    assert service.ask("hi").shown() == "quick"
    service.end("all")
    assert {delivery.shown() for delivery in asked} == {"answer to all"}
    assert service.runs() == {"all": 100}


@pytest.mark.parametrize("mode", ["normal", "safe"])
def test_the_response_is_as_that_of_a_request_that_nobody_held(serve: Callable[..., Service], mode: str) -> None:
    service = serve(mode)
    quick, _ = service.ask("hi").response()
    held = service.ask("async one")
    wait_for(lambda: service.runs()["one"] == 1)
    service.end("one")
    response, body = held.response()
    names = ("Content-Type", "Connection")
    assert response.status == quick.status == 200
    assert [response.headers.get_all(name) for name in names] == [quick.headers.get_all(name) for name in names]
    assert response.headers.get_all("Content-Length") == [str(len(body))]
    assert (b"<Encrypt>" in body) is (mode == "safe")
    assert held.phone.judge(body).shown == "answer to one"


def test_who_is_not_answered_in_time_is_never_told_success_and_is_held_until_it_hangs_up(
    serve: Callable[..., Service],
) -> None:
    service = serve()
    first, second = service.deliveries("async late", 2)
    wait_for(lambda: service.held() == 2)
    began, slower = time.monotonic(), first.connection
    assert slower.sock is not None
    slower.sock.settimeout(8)  # slower than any WeChat
    with pytest.raises(TimeoutError):
        slower.sock.recv(1)
    assert service.held() == 2
    hung_up = time.monotonic()
    second.connection.close()
    wait_for(lambda: service.held() == 1)
    assert time.monotonic() - hung_up < 1
    service.end("late")
    slower.sock.settimeout(5)
    assert first.shown() == "answer to late"
    lines = {line["delivery"]: line for line in wait_for(lambda: service.lines()[1:] and service.lines())}
    outcomes = {line["outcome"] for line in lines.values()}
    assert outcomes in ({"waited", "replied"}, {"waited", "repeated"})  # whichever of the two ran the handler
    assert all(float(line["ms"]) > (hung_up - began) * 1000 - 100 for line in lines.values())


def test_an_answer_is_not_spent_on_who_has_hung_up_and_the_next_delivery_gets_it(
    serve: Callable[..., Service],
) -> None:
    service = serve()
    deliver = service.message("async missed")
    first = deliver()
    wait_for(lambda: service.held() == 1)
    first.connection.close()
    wait_for(lambda: service.held() == 0)
    service.end("missed")
    assert deliver().shown() == "answer to missed"
    assert service.runs() == {"missed": 1}


def test_more_than_the_files_allow_are_not_held_and_those_who_are_get_their_answer(
    serve: Callable[..., Service],
) -> None:
    service = serve(replacements={"max-fd = 10000": "max-fd = 300", "processes = 2": "processes = 1"})
    asked = [service.ask("async all") for _ in range(180)]
    wait_for(lambda: len(service.lines()) == 30 and service.held() == 150)
    assert {line["outcome"] for line in service.lines()} <= {"busy", "not held"}
    assert service.server.output().count("max-fd") == 1  # not once a message
    service.end("all")
    shown = Counter(shown_or_nothing(delivery) for delivery in asked)
    assert shown.pop("answer to all") == 150
    assert set(shown) <= {"现在有点忙，请稍后再试", "nothing"}
    assert service.ask("hi").shown() == "quick"


def shown_or_nothing(delivery: Delivery) -> str:
    try:
        return delivery.shown()
    except RemoteDisconnected:
        return "nothing"
