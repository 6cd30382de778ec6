"""Accounts are added and removed while the fans of others ask all along."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.sandbox.messages import text_message
from tests.accounts.machine import OPENID, Account, Machine
from tests.faults.fans import Crowd, ask, wrong
from tests.load.wechat import WeChat
from tests.servers import program

# Long enough that some are under way at each reload of nginx.
CROWD = ("quick", "slow 1", "quick", "slow 2.5")


@pytest.fixture
def shop(machine: Machine) -> Account:
    return machine.add("shop")[0]


@contextmanager
def fans_of(shop: Account) -> Iterator[Crowd]:
    """Let fans ask all along, and see afterwards that each was answered at once."""
    with WeChat([shop.service.url], token=shop.token) as wechat:
        with Crowd(wechat, *CROWD, per_second=20) as crowd:
            yield crowd
        assert wrong(crowd.asked) == []
        assert {one.result.deliveries for one in crowd.asked} == {1}
        assert len({run.name for run in shop.service.runs}) == len(shop.service.runs) == len(crowd.asked)


def answer(account: Account) -> str:
    with account.fan() as fan:
        return fan.deliver(text_message(OPENID, "hi")).shown


def test_an_account_comes_and_goes_and_nobody_elses_message_is_lost_or_late(machine: Machine, shop: Account) -> None:
    with fans_of(shop) as crowd:
        crowd.wait_for(20)
        (school,) = machine.add("school")
        assert answer(school) == "hi"
        crowd.wait_for(20)
        with WeChat([school.service.url], token=school.token) as wechat:
            last = ask(wechat, "slow 1.5")
            school.service.wait_for_runs(1)
            machine.close("school")
            # Who asked before the account went is answered by the nginx of before.
            assert last.is_right, last.result
        with school.fan() as fan:
            assert "status 404" in fan.deliver(text_message(OPENID, "hi")).reason
        machine.stop("school")
        crowd.wait_for(20)


def test_a_broken_file_of_a_new_account_changes_nothing(machine: Machine, shop: Account) -> None:
    with fans_of(shop) as crowd:
        crowd.wait_for(10)
        (machine.site / "school.conf").write_text("location = /wechat/school { uwsgi_pass }\n")
        conf = ["-p", str(machine.folder), "-c", str(machine.folder / "nginx.conf")]
        checked = subprocess.run([program("nginx"), "-t", *conf], capture_output=True, text=True, check=False)
        assert (checked.returncode, "school.conf:1" in checked.stderr) == (1, True)
        with pytest.raises(TimeoutError):
            machine.reload(seconds=2)
        crowd.wait_for(10)
