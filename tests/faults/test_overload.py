"""More than there are threads for."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.faults.fans import Crowd, ask, wrong
from tests.faults.service import Service
from tests.load.wechat import WeChat

BUSY_REPLY = "现在有点忙，请稍后再试"
# What a handler in one row of the table may take of 20 threads: nine tenths of a half.
SLOTS_OF_ONE_ROW = 9


def test_a_slow_row_that_is_full_is_busy_at_once_and_leaves_room_for_quick_ones(serve: Callable[..., Service]) -> None:
    service = serve(processes=1, threads=20)
    with WeChat([service.url]) as wechat:
        taken = [ask(wechat, "slow 6") for _ in range(SLOTS_OF_ONE_ROW)]
        service.wait_for_runs(SLOTS_OF_ONE_ROW)
        too_many = [ask(wechat, "slow 6") for _ in range(40)]
        assert Counter(one.result.shown for one in too_many) == {BUSY_REPLY: 40}
        assert max(one.result.seconds for one in too_many) < 1
        while not all(one.sent.done() for one in taken):
            quick = ask(wechat, "quick")
            assert (quick.is_right, quick.result.seconds < 1) == (True, True), quick.result
        assert wrong(taken) == []
        assert {one.result.deliveries for one in taken} == {2}
        assert wrong([ask(wechat, "slow 0.1")]) == []
    assert Counter(run.kind for run in service.runs)["slow"] == SLOTS_OF_ONE_ROW + 1


def test_two_processes_are_busy_one_by_one_and_lose_nobody(serve: Callable[..., Service]) -> None:
    service = serve(threads=20)
    with WeChat([service.url]) as wechat:
        asked = [ask(wechat, "slow 6") for _ in range(60)]
        shown = Counter("answer" if one.is_right else one.result.shown for one in asked)
        assert set(shown) == {"answer", BUSY_REPLY}
        assert SLOTS_OF_ONE_ROW <= shown["answer"] <= 2 * SLOTS_OF_ONE_ROW
        assert max(one.result.seconds for one in asked if not one.is_right) < 1
    runs = Counter(run.name for run in service.runs)
    assert runs == {one.openid: 1 for one in asked if one.is_right}


@pytest.mark.parametrize("through_nginx", [True, False])
def test_a_delivery_that_wechat_no_longer_waits_for_is_not_handled_as_new(
    serve: Callable[..., Service], through_nginx: bool
) -> None:
    # None of them is the last: as such it would be answered before WeChat hangs up, and free its thread.
    service = serve(through_nginx=through_nginx, processes=1, threads=8, WECHAT_DELIVERIES="10")
    with WeChat([service.url]) as wechat:
        # All threads: one runs the handler for 7 s, the others wait for its answer for 5.5 s.
        first = ask(wechat, "slow 7")
        others = [wechat.send(first.openid, first.message) for _ in range(7)]
        service.wait_for_runs(1)
        stale = ask(wechat, "slow 0.1")
        with Crowd(wechat, "quick", per_second=0.5) as crowd:
            assert (stale.is_right, stale.result.deliveries) == (True, 2), stale.result
        assert {future.result().shown for future in (first.sent, *others)} == {first.expected}
        assert wrong(crowd.asked) == []
    assert service.outcomes_of(stale.openid) == [(1, "stale"), (2, "replied")]
    assert Counter(run.name for run in service.runs) == dict.fromkeys((first.openid, stale.openid, *crowd.openids), 1)
    # Those that stood in the queue for less than 5 s are answered in time.
    assert [one.result.deliveries for one in crowd.asked[1:3]] == [1, 1]
