"""What two accounts of one machine do not share."""

from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import pytest
import redis

from app.sandbox.messages import text_message
from tests.accounts.machine import OPENID, Account, Machine, appid
from tests.faults.redis_server import RedisServer

HANDLERS = "tests.accounts.handlers"
NAMES = ("shop", "school", "club")
HELLO = text_message(OPENID, "quick hello")


def status(account: Account, query: dict[str, str], body: bytes) -> int:
    host, _, path = account.service.url.removeprefix("http://").partition("/")
    connection = HTTPConnection(host, timeout=10)
    try:
        connection.request("POST", f"/{path}?{urlencode(query)}", body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_each_account_answers_under_its_own_token_and_refuses_the_others(machine: Machine) -> None:
    accounts = machine.add(*NAMES)
    for account in accounts:
        with account.fan() as fan:
            query, body = fan.envelope(HELLO)
        expected = [200 if other is account else 403 for other in accounts]
        assert [status(other, query, body) for other in accounts] == expected
    assert [[run.name for run in account.service.runs] for account in accounts] == [["hello"]] * 3


@pytest.mark.parametrize("cache", ["own", "shared Redis"])
def test_one_fans_message_and_session_are_each_accounts_own(
    machine: Machine, redis_server: RedisServer, cache: str
) -> None:
    shared: dict[str, Any] = {"WECHAT_CACHE_URL": redis_server.url} if cache == "shared Redis" else {}
    accounts = machine.add("shop", "club", WECHAT_HANDLERS=HANDLERS, **shared)
    one, two = text_message(OPENID, "count"), text_message(OPENID, "count again")
    seen = []
    for account, messages in zip(accounts, ([one, one, two], [two, one, two]), strict=True):
        with account.fan() as fan:
            seen.append([fan.deliver(message).shown for message in messages])
    # A redelivery is known as one, by the account that had the first.
    assert seen == [["message 1", "message 1", "message 2"], ["message 1", "message 2", "message 1"]]
    if shared:
        keys = map(str, redis.Redis.from_url(redis_server.url, decode_responses=True).keys())
        assert {key.partition(":")[0] for key in keys} == {appid("shop"), appid("club")}


def test_a_restart_of_one_account_leaves_the_others_memory(machine: Machine) -> None:
    shop, club = machine.add("shop", "club", processes=2, WECHAT_HANDLERS=HANDLERS)
    with shop.fan() as of_shop, club.fan() as of_club:
        assert [fan.deliver(text_message(OPENID, "count a")).shown for fan in (of_shop, of_club)] == ["message 1"] * 2
        shop.service.end()
        shop.service.start_again()
        assert [fan.deliver(text_message(OPENID, "count b")).shown for fan in (of_shop, of_club)] == [
            "message 1",
            "message 2",
        ]
