"""What happens to the service meanwhile: one fault after the other, each healed before the next."""

import itertools
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from tests.faults.redis_server import RedisServer
from tests.faults.service import Run, Service
from tests.load.site import family
from tests.meanwhile import Meanwhile
from tests.wechat_server import WeChatServer

_AWAY_SECONDS = 2.0
Fault = Callable[[], None]


class Harm(Meanwhile):
    """Does harm every ``apart_seconds`` while the context is entered; workers are recycled until ``settle``."""

    def __init__(self, service: Service, redis: RedisServer, server: WeChatServer, apart_seconds: float) -> None:
        super().__init__(self._go_on)
        self._service, self._redis, self._server = service, redis, server
        self._apart_seconds = apart_seconds
        self._settled = threading.Event()
        self._killed: list[tuple[int, float]] = []
        self.done: list[str] = []

    def settle(self) -> None:
        """Kill and replace no worker any more."""
        self._settled.set()

    @property
    def faults(self) -> Sequence[Fault]:
        """All that is done, in turn."""
        recycling = (self.kill_a_worker, self.reload_in_a_chain)
        others = (
            self.redis_says_nothing,
            self.revoke_the_token,
            self.the_api_is_busy,
            self.redis_dies,
            self.lock_the_database,
            self.the_api_stalls,
            self.reload_nginx,
        )
        both = (fault for pair in zip(itertools.cycle(recycling), others, strict=False) for fault in pair)
        return others if self._settled.is_set() else tuple(both)

    def cut(self, runs: Sequence[Run]) -> set[str]:
        """Return the fans whose handler's last run was in a worker that was killed."""
        last = {run.name: run.pid for run in runs}
        pids = {pid for pid, _ in self._killed}
        return {name for name, pid in last.items() if pid in pids}

    def kill_a_worker(self) -> None:
        workers = family(self._service.uwsgi.process.pid)[1:]
        self._killed.append((random.choice(workers), time.time()))
        os.kill(self._killed[-1][0], signal.SIGKILL)

    def reload_in_a_chain(self) -> None:
        self._service.reload_in_a_chain()

    def redis_says_nothing(self) -> None:
        self._redis.pause()
        self.is_over.wait(_AWAY_SECONDS)
        self._redis.resume()

    def redis_dies(self) -> None:
        self._redis.kill()
        self.is_over.wait(_AWAY_SECONDS)
        self._redis.start_again()

    def revoke_the_token(self) -> None:
        self._server.wechat.revoke_token()

    def the_api_is_busy(self) -> None:
        self._server.wechat.fail("*", errcode=-1, times=2)

    def the_api_stalls(self) -> None:
        self._server.wechat.fail("*", "stall", seconds=2, times=2)

    def lock_the_database(self) -> None:
        with closing(sqlite3.connect(self._service.folder / "instance" / "wechat.db", timeout=10)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            self.is_over.wait(_AWAY_SECONDS)

    def reload_nginx(self) -> None:
        pid = self._service.folder / "nginx.pid"
        os.kill(int(Path(pid).read_text()), signal.SIGHUP)

    def _go_on(self) -> None:
        for number in itertools.count():
            if self.is_over.wait(self._apart_seconds):
                return
            fault = self.faults[number % len(self.faults)]
            fault()
            self.done.append(fault.__name__.replace("_", " "))
