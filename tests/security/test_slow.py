"""Five hundred who send one byte a second, and a flood of those who have no token: the fan is answered meanwhile."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest

from app.sandbox.messages import text_message
from tests.security.conftest import OPENID, PATH, Site
from tests.security.flood import flood
from tests.security.raw import OPERATOR, OUTSIDER, answers, connect, first_answer, received, request
from tests.servers import wait_for

SLOW = 500
MESSAGES = 200
# The time within which others are still to be answered.
WORST_SECONDS = 1.0


class Talk:
    """One fan after another, each with a message; ``seconds`` holds how long each was on its way."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.seconds: list[float] = []
        self.shown: list[str] = []

    def say(self, number: int) -> None:
        with self._site.phone(f"oFanInTheFlood{number:014}") as fan:
            outcome = fan.deliver(text_message(f"oFanInTheFlood{number:014}", f"quick n{number}"))
        self.seconds.append(outcome.seconds)
        self.shown.append(outcome.shown)

    def hold(self, messages: int = MESSAGES) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.say, range(messages)))


class Trickle:
    """Connections that send one byte a second each, of a request that is not whole before an hour has gone by."""

    def __init__(self, connections: list[socket.socket], byte: bytes) -> None:
        self.connections, self._byte = connections, byte
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def __enter__(self) -> "Trickle":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1):
            for connection in self.connections:
                with suppress(OSError):
                    self.sent += connection.send(self._byte)


@contextmanager
def trickling(site: Site, beginning: bytes, byte: bytes) -> Iterator[Trickle]:
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(site.port)) for _ in range(SLOW)]
        for connection in connections:
            connection.sendall(beginning)
        yield stack.enter_context(Trickle(connections, byte))


def slow_body(site: Site) -> bytes:
    with site.phone() as fan:  # signed, even
        query, _ = fan.envelope(text_message(OPENID, "slow"))
    return f"POST {PATH}?{urlencode(query)} HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n<".encode()


BEGINNINGS: dict[str, tuple[Callable[[Site], bytes], bytes]] = {
    "headers": (lambda site: f"POST {PATH} HTTP/1.1\r\nHost: x\r\nX: ".encode(), b"x"),
    "request lines": (lambda site: b"GET /", b"x"),
    "bodies": (slow_body, b"x"),
}


@pytest.mark.parametrize("what", BEGINNINGS)
def test_others_are_answered_while_500_send_one_byte_a_second(site: Site, what: str) -> None:
    begin, byte = BEGINNINGS[what]
    before, talk = site.asked, Talk(site)
    with trickling(site, begin(site), byte) as trickle:
        wait_for(lambda: trickle.sent >= 2 * SLOW, what="two bytes of each")
        talk.hold()
    assert sorted(talk.shown) == sorted(f"quick n{number}" for number in range(MESSAGES))
    assert max(talk.seconds) < WORST_SECONDS
    assert site.asked - before == MESSAGES


def test_who_sends_headers_for_five_seconds_is_cut_off(site: Site) -> None:
    with trickling(site, b"GET / HTTP/1.1\r\nX: ", b"x") as trickle:
        found = [answers(received(connection)) for connection in trickle.connections]
    assert {answer.status for every in found for answer in every} <= {408}


def test_who_is_not_on_the_allow_list_is_refused_and_holds_no_place(serve: Callable[..., Site]) -> None:
    site = serve(allowed=OPERATOR, places=20)
    with site.phone() as fan:
        query, body = fan.envelope(text_message(OPENID, "quick signed"))
        signed = request(f"{PATH}?{urlencode(query)}", method="POST", body=body)
        assert (first_answer(site.port, signed, OUTSIDER).status, site.asked) == (403, 0)
        with trickling(site, slow_body(site), b"x") as trickle:
            wait_for(lambda: trickle.sent >= SLOW, what="a byte of each")
            wait_for(lambda: fan.deliver(text_message(OPENID, "quick hi")).answered, 5, what="a free place")
            assert fan.deliver(text_message(OPENID, "quick again")).shown == "quick again"


@pytest.mark.parametrize(("mode", "body"), [("normal", b""), ("safe", b""), ("safe", b"<xml>" + b"<a>" * 21_000)])
def test_a_flood_without_a_token_is_refused_and_fans_are_answered(
    serve: Callable[..., Site], tmp_path: Path, mode: str, body: bytes
) -> None:
    site = serve(mode)
    talk = Talk(site)
    with flood(site, tmp_path, body) as refused:
        wait_for(lambda: site.asked > 100, what="the flood")
        talk.hold()
    assert sorted(talk.shown) == sorted(f"quick n{number}" for number in range(MESSAGES))
    assert max(talk.seconds) < WORST_SECONDS
    assert set(refused()) == {403}
    assert len(site.runs) == MESSAGES
