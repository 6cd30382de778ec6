"""Fans who write while the service starts, and callers who do not hang up when WeChat does: a short form of both."""

from tests.load.outcome import Scenario
from tests.load.start import row
from tests.load.starting import go_on, start

AT_ONCE = Scenario("start", fans=60, handler_seconds=6, through_nginx=False, quick_per_second=20)
# Half of these callers still wait for the second delivery's answer when WeChat would have begun the third one.
LATER = AT_ONCE._replace(fans=30, arrive_seconds=1, handler_seconds=12, hang_up_seconds=(4.8, 9.0))


def test_everybody_is_answered_who_writes_while_the_service_starts_on_one_core() -> None:
    done = start(AT_ONCE, on_one_core=True)
    assert done.ok, done
    assert 0 < done.ready_seconds < 5
    assert row([done])[:5] == ["start", "1", "1", "60/60", f"{done.quick_total}/{done.quick_total}"]


def test_callers_who_hang_up_later_than_wechat_are_answered() -> None:
    done = go_on(LATER)
    assert done.ok, done
