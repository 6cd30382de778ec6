"""SIGTERM while messages are under way."""

from collections import Counter
from collections.abc import Callable

from tests.faults.fans import HOLD_REPLY, Crowd, ask, say, wrong
from tests.faults.redis_server import RedisServer
from tests.faults.service import Service
from tests.load.customer_service import CustomerService
from tests.load.wechat import WeChat


def test_a_stop_lets_running_handlers_answer_and_the_next_start_answers_the_rest(serve: Callable[..., Service]) -> None:
    service = serve()
    with (
        WeChat([service.url], pause_seconds=2) as wechat,
        Crowd(wechat, "slow 3", "quick", "slow 2", "quick", per_second=20) as crowd,
    ):
        service.wait_for_runs(20)
        before = {run.name for run in service.runs}
        assert service.end() == 0
        crowd.wait_for(10)
        service.start_again()
        crowd.stop()
        assert wrong(crowd.asked) == []
    assert {one.result.deliveries for one in crowd.asked if one.openid in before} == {1}
    refused = [one for one in crowd.asked if one.result.deliveries > 1]
    assert refused
    runs = Counter(run.name for run in service.runs)
    assert {runs[one.openid] for one in crowd.asked} == {1}


def test_a_stop_waits_for_a_handler_whose_answer_will_come_late(
    serve: Callable[..., Service], customer_service: CustomerService
) -> None:
    service = serve(customer_service=customer_service, WECHAT_DELIVERIES="1")
    with WeChat([service.url], deliveries=1) as wechat:
        asked = ask(wechat, "slow 7")
        assert asked.result[:2] == ("", True)
    assert customer_service.messages == []
    assert service.end() == 0
    assert customer_service.messages == [(asked.openid, asked.expected)]


def test_an_answer_that_waits_for_the_pickup_word_outlives_a_restart_in_redis(
    serve: Callable[..., Service], redis_server: RedisServer
) -> None:
    service = serve(WECHAT_DELIVERIES="1", WECHAT_CACHE_URL=redis_server.url)
    with WeChat([service.url], deliveries=1) as wechat:
        asked = ask(wechat, "slow 7")
        assert asked.result[:2] == (HOLD_REPLY, True)
        assert service.end() == 0
        service.start_again()
        assert say(wechat, asked.openid, "1").result().shown == asked.expected
        assert say(wechat, asked.openid, "1").result().shown == "1"
