"""Many processes that share a Redis: one token for all of them, whatever happens to it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.api.traffic import GO, STOP
from tests.cache_servers import redis_server
from tests.servers import ROOT, environment, wait_for
from tests.wechat_server import WeChatServer

TOKEN_PATH, QUOTA_PATH = "/cgi-bin/stable_token", "/cgi-bin/openapi/quota/get"


class Traffic(NamedTuple):
    folder: Path
    processes: list["subprocess.Popen[str]"]

    def go(self) -> None:
        """Start, when every process is there."""
        wait_for(lambda: len(list(self.folder.glob("ready*"))) == len(self.processes), what="all processes")
        (self.folder / GO).touch()

    def end(self) -> tuple[int, int]:
        """Return how many calls were made, and how many failed, when all have ended."""
        said = [process.communicate(timeout=60) for process in self.processes]
        assert all(process.returncode == 0 for process in self.processes), said
        counts = [list(map(int, out.split())) for out, _ in said]
        return sum(calls for calls, _ in counts), sum(failed for _, failed in counts)


@pytest.fixture
def traffic(server: WeChatServer, tmp_path: Path) -> Iterator[Callable[..., Traffic]]:
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(tmp_path))
        env = environment(WECHAT_CACHE_URL=f"redis://127.0.0.1:{redis.port}", **server.settings)

        def start(processes: int, threads: int, number: int = 0) -> Traffic:
            folder = tmp_path / "traffic"
            folder.mkdir()
            command = [sys.executable, "-m", "tests.api.traffic", str(folder), str(threads), str(number)]
            running = []
            for _ in range(processes):
                pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
                running.append(subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes))  # type: ignore[call-overload]
                stack.callback(running[-1].wait)
                stack.callback(running[-1].kill)
            return Traffic(folder, running)

        yield start


def test_a_hundred_cold_threads_in_four_processes_fetch_one_token(
    traffic: Callable[..., Traffic], server: WeChatServer
) -> None:
    running = traffic(4, 25, 1)
    running.go()
    calls, failed = running.end()
    assert calls >= 100
    assert failed == 0
    assert server.calls_of(TOKEN_PATH) == [0]


def test_a_token_revoked_in_mid_traffic_of_eight_processes_is_fetched_once_anew(
    traffic: Callable[..., Traffic], server: WeChatServer
) -> None:
    running = traffic(8, 3)
    running.go()
    wait_for(lambda: len(server.calls_of(QUOTA_PATH)) > 50, 60, what="traffic")
    server.wechat.revoke_token()
    seen = len(server.calls_of(QUOTA_PATH))
    wait_for(lambda: len(server.calls_of(QUOTA_PATH)) > seen + 100, 60, what="traffic after it")
    (running.folder / STOP).touch()
    calls, failed = running.end()
    assert calls > 150
    assert failed == 0
    assert server.calls_of(TOKEN_PATH) == [0, 0]


def test_a_token_that_ends_in_mid_traffic_stops_nobody(traffic: Callable[..., Traffic], server: WeChatServer) -> None:
    server.wechat.set(expires_in=3)
    running = traffic(3, 3)
    running.go()
    wait_for(lambda: len(server.calls_of(TOKEN_PATH)) >= 4, 60, what="renewals")
    (running.folder / STOP).touch()
    calls, failed = running.end()
    assert (calls > 50, failed) == (True, 0)
    assert set(server.calls_of(QUOTA_PATH)) <= {0, 42001, 40001}
