"""Fans who write while the service starts: a short form of `make start`."""

from tests.load.outcome import Scenario
from tests.load.start import row
from tests.load.starting import start

AT_ONCE = Scenario("start", fans=60, handler_seconds=6, through_nginx=False, quick_per_second=20)


def test_everybody_is_answered_who_writes_while_the_service_starts_on_one_core() -> None:
    done = start(AT_ONCE, on_one_core=True)
    assert done.ok, done
    assert 0 < done.ready_seconds < 5
    assert row([done])[:5] == ["start", "1", "1", "60/60", f"{done.quick_total}/{done.quick_total}"]
