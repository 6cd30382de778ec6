"""The way of an answer that comes after the last delivery, between real processes."""

from collections.abc import Callable

from tests.faults.fans import HOLD_REPLY, ask, ask_evenly, say
from tests.faults.service import Service
from tests.load.customer_service import CustomerService
from tests.load.wechat import WeChat
from tests.servers import wait_for

NO_PERMISSION = 48001
FAN = "oFanWhoWaits0000000000000000"


def wait_for_kept(service: Service, count: int) -> None:
    """Wait until so many answers wait for the pickup word."""
    wait_for(lambda: service.uwsgi.output().count("way=next_message") == count, what=f"{count} late answers")


def test_answers_that_customer_service_refuses_wait_for_the_pickup_word_in_their_order(
    serve: Callable[..., Service], customer_service: CustomerService
) -> None:
    customer_service.errcode = NO_PERMISSION
    service = serve(customer_service=customer_service, WECHAT_DELIVERIES="1")
    with WeChat([service.url], deliveries=1) as wechat:
        unforeseen = ask(wechat, "slow 5", FAN)
        assert unforeseen.result[:2] == ("", True)
        wait_for_kept(service, 1)
        # From now on the service knows that it may not. The first to be asked is the last to be ready.
        held = list(ask_evenly(wechat, ["slow 6", "slow 5.5", "slow 5"], 3, FAN))
        assert [one.result.shown for one in held] == [HOLD_REPLY] * 3
        wait_for_kept(service, 4)
        picked_up = [say(wechat, FAN, "1").result().shown for _ in range(5)]
    assert picked_up == [unforeseen.expected, *(one.expected for one in held), "1"]
    assert customer_service.messages == []


def test_a_pickup_word_that_is_too_early_waits_as_long_as_it_can(serve: Callable[..., Service]) -> None:
    service = serve(WECHAT_DELIVERIES="1")
    with WeChat([service.url], deliveries=1) as wechat:
        assert say(wechat, FAN, "1").result().shown == "1"
        asked = ask(wechat, "slow 10", FAN)
        assert asked.result.shown == HOLD_REPLY
        assert say(wechat, "oAnotherFan", "1").result().shown == "1"
        too_early = say(wechat, FAN, "1").result()
        assert (too_early.shown, too_early.seconds > 3) == (HOLD_REPLY, True)
        just_in_time = say(wechat, FAN, "1").result()
        assert (just_in_time.shown, just_in_time.seconds > 0.5) == (asked.expected, True)
        assert say(wechat, FAN, "1").result().shown == "1"
