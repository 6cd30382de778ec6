"""The service under test, as seen from its machine: its processes, its log, and the runs of its handlers."""

import os
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

import requests

import log
from tests.figures import figures
from tests.servers import Server, wait_for

SHORT_MERCY = {"mercy = 60": "mercy = 2"}
"""For the ini: how many seconds a stop or a reload waits for the handlers that run."""
_LINE = re.compile(r" wechat message type=\S+ event=\S+ openid=(\S+) handler=\S+ ms=\S+ delivery=(\d+) outcome=(.*)")


class Run(NamedTuple):
    """A handler's run as the handler itself wrote it down when it began."""

    kind: str
    name: str
    pid: int


class Line(NamedTuple):
    """What the log says of a delivery; ``openid`` is masked."""

    openid: str
    delivery: int
    outcome: str


class Service(NamedTuple):
    url: str
    uwsgi: Server
    folder: Path

    @property
    def runs(self) -> list[Run]:
        path = self.folder / "runs"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Run(kind, name, int(pid)) for kind, name, pid in map(str.split, lines)]

    def wait_for_runs(self, count: int, kind: str = "slow") -> list[Run]:
        """Return the handlers' runs as soon as ``count`` of that kind have begun."""
        wait_for(lambda: sum(run.kind == kind for run in self.runs) >= count, what=f"{count} runs of {kind}")
        return self.runs

    @property
    def lines(self) -> list[Line]:
        """What the log says of each delivery that was answered."""
        return [
            Line(openid, int(delivery), outcome) for openid, delivery, outcome in _LINE.findall(self.uwsgi.output())
        ]

    def outcomes_of(self, openid: str) -> list[tuple[int, str]]:
        """Return (delivery, outcome) of the fan's deliveries."""
        return [line[1:] for line in self.lines if line.openid == log.masked(openid)]

    @property
    def held(self) -> int:
        """How many deliveries wait for their answers, in all workers."""
        text = requests.get(f"{self.url.removesuffix('/wechat')}/metrics", timeout=10).text
        return int(figures(text)[("wechat_held_deliveries",)])

    def wait_for_held(self, count: int, seconds: float = 20) -> None:
        wait_for(lambda: self.held == count, seconds, what=f"{count} held deliveries")

    @property
    def loads(self) -> int:
        """How often a worker has loaded the application."""
        return self.uwsgi.output().count("WSGI app 0")

    def wait_for_loads(self, count: int) -> None:
        # A worker that is replaced lets its handlers end first.
        wait_for(lambda: self.loads >= count, 60, what=f"load number {count} of the application")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self.uwsgi.process.send_signal(number)

    def reload_in_a_chain(self) -> None:
        os.utime(self.folder / "run" / "reload", (time.time() + 5,) * 2)  # uWSGI looks at whole seconds

    def start_again(self) -> None:
        """Start it after its end, with the same settings, behind the same nginx."""
        loads = self.loads
        self.uwsgi.start()
        self.wait_for_loads(loads + 2)

    def end(self, seconds: float = 30) -> int:
        """Stop it as ops do, and return its exit status; no handler runs any more then, and no answer is sent."""
        self.signal(signal.SIGTERM)
        return self.uwsgi.process.wait(seconds)
