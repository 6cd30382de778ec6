"""A reload while fans ask all along, and what is lost by it: nothing."""

import signal
from collections import Counter
from collections.abc import Callable

from tests.faults.fans import Crowd, wrong
from tests.faults.service import Service
from tests.load.customer_service import CustomerService
from tests.load.wechat import WeChat

# One of them is answered at the second delivery, by another process than the one that runs the handler.
CROWD = ("slow 2", "quick", "slow 3", "quick", "slow 5.2", "quick")


def test_sighup_loses_no_message(serve: Callable[..., Service], customer_service: CustomerService) -> None:
    service = serve(customer_service=customer_service)
    with WeChat([service.url]) as wechat, Crowd(wechat, "slow 2", "quick", "slow 3", "quick", per_second=20) as crowd:
        service.wait_for_runs(10)
        service.signal(signal.SIGHUP)
        service.wait_for_loads(4)
        service.wait_for_runs(sum(run.kind == "slow" for run in service.runs) + 10)
        crowd.stop()
        assert wrong(crowd.asked) == []
    assert service.end() == 0
    assert customer_service.messages == []
    assert set(crowd.openids) == {run.name for run in service.runs}


def test_a_chain_reload_costs_not_even_a_second_run(
    serve: Callable[..., Service], customer_service: CustomerService
) -> None:
    service = serve(customer_service=customer_service)
    with WeChat([service.url]) as wechat, Crowd(wechat, *CROWD, per_second=20) as crowd:
        service.wait_for_runs(10)
        service.reload_in_a_chain()
        service.wait_for_loads(4)
        crowd.wait_for(10)
        crowd.stop()
        assert wrong(crowd.asked) == []
    assert service.end() == 0
    assert customer_service.messages == []
    assert Counter(run.name for run in service.runs) == Counter(crowd.openids)
    assert len({run.pid for run in service.runs}) == 4
