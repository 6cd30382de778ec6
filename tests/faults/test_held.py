"""Held deliveries, and what becomes of them when callers, workers or nginx go, or files run out."""

import os
import re
import signal
import socket
import struct
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

import pytest

from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.faults.fans import Crowd, ask, wrong
from tests.faults.service import Service
from tests.load.customer_service import CustomerService
from tests.load.wechat import WeChat
from tests.servers import TOKEN, wait_for

BUSY_REPLY = "现在有点忙，请稍后再试"
HELD = 150
MANY = 500
AT_ONCE_SECONDS = 1.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no FIN, what is under way is thrown away
BOTH_WAYS = pytest.mark.parametrize("through_nginx", [True, False], ids=["nginx", "http socket"])


class SilentCallers:
    """Deliver each of ``count`` fans' message once, and never read the answer."""

    def __init__(self, url: str, what: str, count: int) -> None:
        names = [f"oAsyncFanOfSilence{number:010}" for number in range(count)]
        self.messages = {name: text_message(name, f"{what} {name}") for name in names}
        self._callers = [_deliver(url, name, message) for name, message in self.messages.items()]

    def reset(self) -> None:
        for caller in self._callers:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            caller.close()
        self._callers.clear()

    def deliver_again(self, wechat: WeChat) -> list[tuple[bool, int]]:
        """Let WeChat deliver each; return for each fan whether the answer was right, and at which delivery it came."""
        sent = [(name, wechat.send(name, message)) for name, message in self.messages.items()]
        return [(one.result().shown == f"answer {name}", one.result().deliveries) for name, one in sent]


def _deliver(url: str, openid: str, message: str) -> socket.socket:
    parts, (query, body) = urlsplit(url), Phone(url, TOKEN, openid).envelope(message)
    caller = socket.create_connection((str(parts.hostname), int(parts.port or 0)))
    head = f"POST {parts.path}?{urlencode(query)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    caller.sendall(head.encode() + body)
    return caller


@BOTH_WAYS
def test_callers_who_reset_their_connections_are_seen_at_once(
    serve: Callable[..., Service], through_nginx: bool
) -> None:
    service = serve(through_nginx=through_nginx)
    callers = SilentCallers(service.url, "async 4", HELD)
    service.wait_for_held(HELD)
    callers.reset()
    service.wait_for_held(0, AT_ONCE_SECONDS)
    with WeChat([service.url]) as wechat:
        assert callers.deliver_again(wechat) == [(True, 1)] * HELD
    assert Counter(line[1:] for line in service.lines) == {(1, "waited"): HELD, (2, "repeated"): HELD}
    assert len(re.findall(r" handler=(?!-)\S+ .*delivery=1 outcome=waited", service.uwsgi.output())) == HELD
    assert Counter(run.name for run in service.runs) == dict.fromkeys(callers.messages, 1)


@BOTH_WAYS
def test_callers_who_vanish_without_a_word_cost_the_fan_nothing(
    serve: Callable[..., Service], through_nginx: bool
) -> None:
    # For the service such a caller is there, and more patient than WeChat.
    service = serve(through_nginx=through_nginx)
    callers = SilentCallers(service.url, "async 7", HELD)
    service.wait_for_held(HELD)
    with WeChat([service.url]) as wechat:
        assert callers.deliver_again(wechat) == [(True, 2)] * HELD
    service.wait_for_held(0, AT_ONCE_SECONDS)
    callers.reset()
    assert Counter(run.name for run in service.runs) == dict.fromkeys(callers.messages, 1)


@BOTH_WAYS
def test_without_a_file_left_new_messages_are_busy_and_others_are_answered(
    serve: Callable[..., Service], through_nginx: bool
) -> None:
    few = {"max-fd = 10000": "max-fd = 160"}
    service = serve(through_nginx=through_nginx, processes=1, replacements=few)
    with WeChat([service.url]) as wechat, WeChat([service.url], deliveries=1) as again:
        first = ask(wechat, "async 3")
        repeated = [again.send(first.openid, first.message) for _ in range(300)]
        service.wait_for_runs(1, "async")
        wait_for(lambda: "not held" in service.uwsgi.output(), what="as many held as can be")
        asked = [ask(wechat, "async 3") for _ in range(100)]
        assert Counter(one.result.shown for one in asked if not one.is_right).keys() <= {BUSY_REPLY}
        assert first.is_right
        assert Counter(one.result().answered for one in repeated).keys() == {True, False}
        service.wait_for_held(0)
        assert wrong([ask(wechat, "async 0.5") for _ in range(50)]) == []
    outcomes = Counter(line.outcome for line in service.lines)
    assert outcomes['"not held"'] > 0
    assert re.search(r"cannot be held|max-fd", service.uwsgi.output())
    assert "Traceback" not in service.uwsgi.output()
    assert service.loads == 1
    assert set(Counter(run.name for run in service.runs).values()) == {1}


def test_a_worker_killed_with_held_deliveries_takes_no_answer_with_it(
    serve: Callable[..., Service], customer_service: CustomerService
) -> None:
    service = serve(customer_service=customer_service)
    with WeChat([service.url]) as wechat:
        asked = [ask(wechat, "async 3") for _ in range(MANY)]
        runs = service.wait_for_runs(MANY, "async")
        assert service.held == MANY
        ((killed, count),) = Counter(run.pid for run in runs).most_common(1)
        assert count >= 100
        os.kill(killed, signal.SIGKILL)
        assert wrong(asked) == []
    assert service.end() == 0
    assert customer_service.messages == []
    cut = {run.name for run in runs if run.pid == killed}
    assert Counter(run.name for run in service.runs) == {one.openid: 2 if one.openid in cut else 1 for one in asked}
    assert {one.openid for one in asked if one.result.deliveries > 1} == cut


@pytest.mark.parametrize("reload", ["uWSGI", "nginx", "both"])
@pytest.mark.parametrize("kind", ["async", "slow"])
def test_a_reload_with_held_deliveries_costs_not_even_a_second_delivery(
    serve: Callable[..., Service], customer_service: CustomerService, kind: str, reload: str
) -> None:
    service = serve(customer_service=customer_service)
    with WeChat([service.url]) as wechat:
        asked = [ask(wechat, f"{kind} 3") for _ in range(MANY)]
        service.wait_for_runs(MANY, kind)
        assert service.held > 400
        with Crowd(wechat, "quick", per_second=20) as crowd:
            if reload != "nginx":
                service.reload_in_a_chain()
            if reload != "uWSGI":
                os.kill(int((service.folder / "nginx.pid").read_text()), signal.SIGHUP)
            assert wrong(asked) == []
            if reload != "nginx":
                service.wait_for_loads(4)
        assert wrong(crowd.asked) == []
    assert {one.result.deliveries for one in asked} == {1}
    assert service.end() == 0
    assert customer_service.messages == []
    assert Counter(run.name for run in service.runs) == Counter(one.openid for one in asked + crowd.asked)
