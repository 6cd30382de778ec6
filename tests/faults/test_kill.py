"""kill -9 of a worker while handlers run in it."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from app.once.answer import DELIVERY_SECONDS
from tests.faults.fans import Asked, ask, wrong
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
        service.wait_for_runs(FANS)
        cut = kill_the_busiest(service)
        for one in asked:  # beside WeChat's own second delivery
            hasty.send(one.openid, one.message)
        assert wrong(asked) == []
    assert service.end() == 0
    assert customer_service.messages == []
    assert Counter(run.name for run in service.runs) == {one.openid: 2 if one.openid in cut else 1 for one in asked}
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
        all_come_late_and_once(service, customer_service, asked, 30)


def test_a_worker_killed_with_the_last_delivery_in_it_takes_no_answer_with_it_either(
    serve: Callable[..., Service], customer_service: CustomerService
) -> None:
    service = serve(customer_service=customer_service, WECHAT_DELIVERIES="2")
    with WeChat([service.url], deliveries=2) as wechat:
        asked = [ask(wechat, f"slow {LATER_SECONDS}") for _ in range(FANS)]
        service.wait_for_runs(FANS)
        last_came = time.monotonic() + DELIVERY_SECONDS + 1
        wait_for(lambda: time.monotonic() > last_came, what="the last delivery, to this worker or to the other")
        all_come_late_and_once(service, customer_service, asked, 40)


def all_come_late_and_once(
    service: Service, customer_service: CustomerService, asked: list[Asked], seconds: float
) -> None:
    """Kill a worker, and wait for the late answers; the handlers that were cut have run once more, and no other."""
    cut = kill_the_busiest(service)
    wait_for(lambda: len(customer_service.messages) >= FANS, seconds, "all late answers")
    assert service.end() == 0
    assert sorted(customer_service.messages) == sorted((one.openid, one.expected) for one in asked)
    assert Counter(run.name for run in service.runs) == {one.openid: 2 if one.openid in cut else 1 for one in asked}
    assert cut


def kill_the_busiest(service: Service) -> set[str]:
    """Kill the worker in which most handlers run, and return whose they are."""
    runs = service.runs
    ((killed, _),) = Counter(run.pid for run in runs).most_common(1)
    os.kill(killed, signal.SIGKILL)
    return {run.name for run in runs if run.pid == killed}
