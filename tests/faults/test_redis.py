"""Redis as the cache: two servers in one, and what is left when it says nothing or is gone."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from app.sandbox.messages import text_message
from tests.faults.fans import Crowd, wrong
from tests.faults.redis_server import RedisServer
from tests.faults.service import Service
from tests.load.wechat import WeChat
from tests.servers import wait_for

MESSAGES = 1500
AT_ONCE = 75
PROCESSES = 2
DOWN_SECONDS = 5


def pause(redis_server: RedisServer, down: Callable[[], None]) -> None:
    redis_server.pause()
    down()
    redis_server.resume()


def kill(redis_server: RedisServer, down: Callable[[], None]) -> None:
    redis_server.kill()
    down()
    redis_server.start_again()


@pytest.mark.parametrize("harm", [pause, kill])
def test_every_fan_is_answered_while_redis_is_away(
    serve: Callable[..., Service], redis_server: RedisServer, harm: Callable[..., None]
) -> None:
    service = serve(WECHAT_CACHE_URL=redis_server.url)
    with WeChat([service.url]) as wechat, Crowd(wechat, "slow 3", "quick", "quick", per_second=30) as crowd:
        service.wait_for_runs(10)
        assert "the cache" not in service.uwsgi.output()
        harm(redis_server, lambda: crowd.wait_for(30 * DOWN_SECONDS))
        wait_for(lambda: service.uwsgi.output().count("the cache is back") >= PROCESSES)
        crowd.wait_for(30)
        crowd.stop()
        assert wrong(crowd.asked) == []
    complaints = re.findall(r"^(\S{19})\S* ERROR wechat.cache the cache fails", service.uwsgi.output(), re.MULTILINE)
    assert PROCESSES <= len(complaints) <= PROCESSES * (DOWN_SECONDS + 2)
    assert max(Counter(complaints).values()) <= 2 * PROCESSES
    assert "Traceback" not in service.uwsgi.output()


def test_each_message_is_handled_once_by_two_servers_whichever_its_deliveries_reach(
    serve: Callable[..., Service], redis_server: RedisServer, tmp_path: Path
) -> None:
    services = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        started = serve(folder=tmp_path / name, through_nginx=False, WECHAT_CACHE_URL=redis_server.url)
        services.append(started)
    openids = [f"oFan{number:020}" for number in range(MESSAGES)]
    shown: dict[str, set[str]] = {}
    with WeChat([service.url for service in services], deliveries=1) as wechat:
        for first in range(0, MESSAGES, AT_ONCE):
            messages = {
                openid: text_message(openid, f"slow 0.2 {openid}") for openid in openids[first : first + AT_ONCE]
            }
            sent = {openid: [wechat.send(openid, message) for _ in range(3)] for openid, message in messages.items()}
            shown |= {openid: {future.result().shown for future in three} for openid, three in sent.items()}
    assert shown == {openid: {f"answer {openid}"} for openid in openids}
    runs = [run.name for service in services for run in service.runs]
    assert sorted(runs) == openids
    assert [len(service.lines) for service in services] == [MESSAGES * 3 // 2] * 2
