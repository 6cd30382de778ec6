"""Handlers that never return, and handlers that raise when the first delivery is long over."""

from collections import Counter
from collections.abc import Callable

from tests.faults.fans import HOLD_REPLY, Crowd, ask, wrong
from tests.faults.service import SHORT_MERCY, Service
from tests.load.customer_service import CustomerService
from tests.load.wechat import WeChat

ERROR_REPLY = "出了点问题，请稍后再试"
DELIVERY_SECONDS = 5


def test_a_handler_that_never_returns_costs_a_hold_reply_and_one_place(serve: Callable[..., Service]) -> None:
    service = serve(processes=1, replacements=SHORT_MERCY, WECHAT_HANDLERS_AT_ONCE="3")
    with WeChat([service.url]) as wechat, WeChat([service.url], deliveries=1) as impatient:
        with Crowd(wechat, "quick", per_second=20) as crowd:
            held = ask(wechat, "forever").result
        assert held[:3] == (HOLD_REPLY, True, 3)
        assert held.seconds < 3 * DELIVERY_SECONDS - 0.2
        assert wrong(crowd.asked) == []
        assert max(one.result.seconds for one in crowd.asked) < 1
        # One of the other two places, and who waits for its answer takes none.
        first = ask(impatient, "slow 2")
        others = [impatient.send(first.openid, first.message) for _ in range(50)]
        service.wait_for_runs(1, "slow")
        quick = ask(impatient, "quick")
        assert (quick.is_right, quick.result.seconds < 1) == (True, True)
        assert {future.result().shown for future in (first.sent, *others)} == {first.expected}
    loads = service.loads
    service.reload_in_a_chain()
    service.wait_for_loads(loads + 1)
    assert "NO MERCY" in service.uwsgi.output()
    assert service.end(10) == 0


def test_a_handler_that_raises_late_costs_the_fan_one_error_reply(
    serve: Callable[..., Service], customer_service: CustomerService
) -> None:
    service = serve(customer_service=customer_service)
    with WeChat([service.url]) as wechat:
        asked = [ask(wechat, "raise 6") for _ in range(10)]
        assert {one.result[:3] for one in asked} == {(ERROR_REPLY, True, 2)}
    assert service.end() == 0
    assert customer_service.messages == []
    assert Counter(run.name for run in service.runs) == {one.openid: 1 for one in asked}
    assert service.uwsgi.output().count("RuntimeError: asked for by") == 10
