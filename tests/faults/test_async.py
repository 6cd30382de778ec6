"""``async def`` handlers that harm the event loop which all of them share, and what others see of it."""

import os
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from tests.faults.fans import HOLD_REPLY, Crowd, ask, wrong
from tests.faults.service import Service
from tests.load.wechat import WeChat

ERROR_REPLY = "出了点问题，请稍后再试"
HANDLERS = "tests.faults.handlers"
SHORT_STOP = {"module = runserver:application": "module = tests.faults.short_stop:application"}


@pytest.mark.parametrize(("what", "handler"), [("leave", "leave"), ("exit", "leave_at_once")])
def test_a_handler_that_raises_system_exit_costs_an_error_reply_and_no_more(
    serve: Callable[..., Service], what: str, handler: str
) -> None:
    service = serve(WECHAT_HANDLERS=HANDLERS)
    with WeChat([service.url]) as wechat:
        before = [ask(wechat, "async 2") for _ in range(10)]
        service.wait_for_runs(10, "async")
        assert {ask(wechat, what).result[:3] for _ in range(10)} == {(ERROR_REPLY, True, 1)}
        assert wrong([*before, *(ask(wechat, "async 0.1") for _ in range(10))]) == []
    assert service.loads == 2
    assert service.uwsgi.output().count(f"{handler} failed on message") == 10
    assert set(Counter(run.name for run in service.runs).values()) == {1}


def test_a_handler_that_blocks_the_loop_is_named_and_plain_ones_go_on(serve: Callable[..., Service]) -> None:
    service = serve(processes=1, WECHAT_HANDLERS=HANDLERS)
    with WeChat([service.url]) as wechat:
        blocks = ask(wechat, "block 3")
        service.wait_for_runs(1, "block")
        waits = ask(wechat, "async 0.1")
        with Crowd(wechat, "quick", per_second=20) as crowd:
            assert wrong([blocks, waits]) == []
        assert wrong(crowd.asked) == []
    assert max(one.result.seconds for one in crowd.asked) < 1
    named = [line for line in service.uwsgi.output().splitlines() if "blocks the event loop" in line]
    assert [" block blocks" in line for line in named] == [True]
    assert "threading.Event().wait(float(" in service.uwsgi.output()  # where it does


def test_a_coroutine_that_never_returns_costs_a_hold_reply_and_no_thread(serve: Callable[..., Service]) -> None:
    service = serve(processes=1, replacements=SHORT_STOP, WECHAT_HANDLERS=HANDLERS, WECHAT_DELIVERIES="1")
    with WeChat([service.url], deliveries=1) as wechat:
        lost = [ask(wechat, "never") for _ in range(200)]
        service.wait_for_runs(200, "never")
        quick = [ask(wechat, "quick") for _ in range(20)]
        assert wrong(quick) == []
        assert max(one.result.seconds for one in quick) < 1
        assert {one.result[:2] for one in lost} == {(HOLD_REPLY, True)}
        assert wrong([ask(wechat, "async 0.1")]) == []
        assert service.held == 0
    assert service.end(10) == 0


def test_a_coroutine_that_is_cut_with_its_worker_is_cancelled_and_runs_elsewhere(serve: Callable[..., Service]) -> None:
    service = serve(replacements=SHORT_STOP, WECHAT_HANDLERS=HANDLERS)
    with WeChat([service.url]) as wechat:
        asked = [ask(wechat, "tidy 4") for _ in range(20)]
        runs = service.wait_for_runs(20, "tidy")
        stopped = runs[0].pid
        os.kill(stopped, signal.SIGHUP)
        assert wrong(asked) == []
    cut = {run.name for run in runs if run.pid == stopped}
    assert {run.name for run in service.runs if run.kind == "cut"} == cut
    tidy = Counter(run.name for run in service.runs if run.kind == "tidy")
    assert tidy == {one.openid: 2 if one.openid in cut else 1 for one in asked}
    assert {run.pid for run in service.runs if run.name in cut and run.kind == "tidy"} != {stopped}
