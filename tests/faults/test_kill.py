"""kill -9 of a worker while handlers run in it."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from app.callback.delivery import DELIVERY_SECONDS
from tests.faults.fans import ask, wrong
from tests.faults.service import Service
from tests.load.customer_service import CustomerService
from tests.load.wechat import WeChat
from tests.servers import wait_for

FANS = 50
HANDLER_SECONDS = 3
MARGIN_SECONDS = 2
LATE_SECONDS = 7
LATER_SECONDS = 12


# As shipped; one whose successor finds its claims; and so many that two can find out at once that the third is dead.
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_killed_worker_takes_no_answer_with_it(
    serve: Callable[..., Service], customer_service: CustomerService, processes: int
) -> None:
    service = serve(processes=processes, customer_service=customer_service, WECHAT_DELIVERIES="10")
    with WeChat([service.url]) as wechat, WeChat([service.url], deliveries=1) as hasty:
        asked = [ask(wechat, f"slow {HANDLER_SECONDS}") for _ in range(FANS)]
        before = service.wait_for_runs(FANS)
        ((killed, _),) = Counter(run.pid for run in before).most_common(1)
        os.kill(killed, signal.SIGKILL)
        for one in asked:  # beside WeChat's own second delivery
            hasty.send(one.openid, one.message)
        assert wrong(asked) == []
    assert service.end() == 0
    assert customer_service.messages == []
    cut = {run.name for run in before if run.pid == killed}
    runs = Counter(run.name for run in service.runs)
    assert runs == {one.openid: 2 if one.openid in cut else 1 for one in asked}
    # For 2 s nobody hears of the dead worker, then the handler runs again.
    assert max(one.result.seconds for one in asked) < 2 + HANDLER_SECONDS + MARGIN_SECONDS
    assert {one.openid for one in asked if one.result.deliveries > 1} == cut


def test_a_worker_killed_after_the_last_delivery_takes_no_answer_with_it_either(
    serve: Callable[..., Service], customer_service: CustomerService
) -> None:
    service = serve(customer_service=customer_service, WECHAT_DELIVERIES="1")
    with WeChat([service.url], deliveries=1) as wechat:
        asked = [ask(wechat, f"slow {LATE_SECONDS}") for _ in range(FANS)]
        assert {one.result[:2] for one in asked} == {("", True)}  # it will come by itself
        before = service.runs
        ((killed, _),) = Counter(run.pid for run in before).most_common(1)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: len(customer_service.messages) >= FANS, 30, "all late answers")
    assert service.end() == 0
    assert sorted(customer_service.messages) == sorted((one.openid, one.expected) for one in asked)
    cut = {run.name for run in before if run.pid == killed}
    assert Counter(run.name for run in service.runs) == {one.openid: 2 if one.openid in cut else 1 for one in asked}
    assert cut


def test_a_worker_killed_with_the_last_delivery_in_it_takes_no_answer_with_it_either(
    serve: Callable[..., Service], customer_service: CustomerService
) -> None:
    service = serve(customer_service=customer_service, WECHAT_DELIVERIES="2")
    with WeChat([service.url], deliveries=2) as wechat:
        asked = [ask(wechat, f"slow {LATER_SECONDS}") for _ in range(FANS)]
        before = service.wait_for_runs(FANS)
        last_came = time.monotonic() + DELIVERY_SECONDS + 1
        wait_for(lambda: time.monotonic() > last_came, what="the last delivery, to this worker or to the other")
        ((killed, _),) = Counter(run.pid for run in before).most_common(1)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: len(customer_service.messages) >= FANS, 40, "all late answers")
    assert service.end() == 0
    assert sorted(customer_service.messages) == sorted((one.openid, one.expected) for one in asked)
    cut = {run.name for run in before if run.pid == killed}
    assert Counter(run.name for run in service.runs) == {one.openid: 2 if one.openid in cut else 1 for one in asked}
