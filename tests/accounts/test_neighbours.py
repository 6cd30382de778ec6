"""An account in trouble, and what its neighbour's fans see of it: nothing."""

from collections.abc import Callable

import pytest

from tests.accounts.machine import Machine
from tests.accounts.measure import watch
from tests.accounts.troubles import TROUBLES, Trouble
from tests.faults.fans import ask, wrong
from tests.load.wechat import WeChat

FEW_CONNECTIONS = {"worker_processes auto": "worker_processes 1", "worker_connections 40960": "worker_connections 150"}


@pytest.mark.parametrize("trouble", TROUBLES[1:], ids=lambda trouble: trouble.happen.__name__)
def test_the_neighbours_fans_are_answered_at_the_first_delivery(trouble: Trouble, empty_database: bytes) -> None:
    row = watch(trouble, 2, empty_database, processes=1, flood_per_second=100)
    assert (row.wrong, row.again) == ([], 0)
    assert row.messages >= 80


def test_one_accounts_slow_conversations_cannot_use_up_the_connections(make_machine: Callable[..., Machine]) -> None:
    # Unbounded, 80 of them would take 160.
    machine = make_machine({"limit_conn wechat_account 10000": "limit_conn wechat_account 20"}, FEW_CONNECTIONS)
    shop, club = machine.add("shop", "club")
    with (
        WeChat([shop.service.url], token=shop.token, deliveries=1) as of_shop,
        WeChat([club.service.url], token=club.token, deliveries=1) as of_club,
    ):
        slow = [ask(of_shop, "slow 3") for _ in range(80)]
        shop.service.wait_for_runs(20)
        assert wrong([ask(of_club, "quick") for _ in range(10)]) == []
        assert {one.sent.done() for one in slow} == {False, True}
        assert [result.reason for _, result in wrong(slow)] == ["status 503"] * 60
        assert wrong([ask(of_shop, "quick")]) == []
