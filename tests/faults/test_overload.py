"""More than there is room for."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.faults.fans import ask, wrong
from tests.faults.service import Service
from tests.load.site import family
from tests.load.wechat import WeChat
from tests.servers import wait_for

BUSY_REPLY = "现在有点忙，请稍后再试"
AT_ONCE, OF_ONE_ROW = "10", 9


def test_a_slow_row_that_is_full_is_busy_at_once_and_leaves_room_for_quick_ones(serve: Callable[..., Service]) -> None:
    service = serve(processes=1, WECHAT_HANDLERS_AT_ONCE=AT_ONCE)
    with WeChat([service.url]) as wechat:
        taken = [ask(wechat, "slow 6") for _ in range(OF_ONE_ROW)]
        service.wait_for_runs(OF_ONE_ROW)
        too_many = [ask(wechat, "slow 6") for _ in range(40)]
        assert Counter(one.result.shown for one in too_many) == {BUSY_REPLY: 40}
        assert max(one.result.seconds for one in too_many) < 1
        while not all(one.sent.done() for one in taken):
            quick = ask(wechat, "quick")
            assert (quick.is_right, quick.result.seconds < 1) == (True, True), quick.result
        assert wrong(taken) == []
        assert {one.result.deliveries for one in taken} == {2}
        assert wrong([ask(wechat, "slow 0.1")]) == []
    assert Counter(run.kind for run in service.runs)["slow"] == OF_ONE_ROW + 1


def test_two_processes_are_busy_one_by_one_and_lose_nobody(serve: Callable[..., Service]) -> None:
    service = serve(WECHAT_HANDLERS_AT_ONCE=AT_ONCE)
    with WeChat([service.url]) as wechat:
        asked = [ask(wechat, "slow 6") for _ in range(60)]
        shown = Counter("answer" if one.is_right else one.result.shown for one in asked)
        assert set(shown) == {"answer", BUSY_REPLY}
        assert OF_ONE_ROW <= shown["answer"] <= 2 * OF_ONE_ROW
        assert max(one.result.seconds for one in asked if not one.is_right) < 1
    runs = Counter(run.name for run in service.runs)
    assert runs == {one.openid: 1 for one in asked if one.is_right}


@pytest.mark.parametrize("through_nginx", [True, False])
def test_a_delivery_that_wechat_no_longer_waits_for_is_not_handled_as_new(
    serve: Callable[..., Service], through_nginx: bool
) -> None:
    service = serve(through_nginx=through_nginx, processes=1, WECHAT_DELIVERIES="10")
    with WeChat([service.url]) as wechat:
        with standing_still(service):
            began = time.monotonic()
            stale = [ask(wechat, "slow 0.1") for _ in range(20)]
            wait_for(lambda: time.monotonic() > began + 3, what="3 of the 5 seconds that WeChat waits")
            fresh = [ask(wechat, "quick") for _ in range(20)]
            wait_for(lambda: time.monotonic() > began + 5.2, what="the second deliveries")
        assert wrong(stale + fresh) == []
    assert {one.result.deliveries for one in stale} == {2}
    assert {one.result.deliveries for one in fresh} == {1}
    assert Counter(run.name for run in service.runs) == {one.openid: 1 for one in stale + fresh}
    assert Counter(line.outcome for line in service.lines) == {"stale": 20, "replied": 40}


@contextmanager
def standing_still(service: Service) -> Iterator[None]:
    """Let no worker do anything meanwhile, so that deliveries stand in the queue."""
    workers = family(service.uwsgi.process.pid)[1:]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
