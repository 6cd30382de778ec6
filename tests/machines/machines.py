"""Lose machines in the middle of slow conversations, and print who was answered, how often, and by how many runs.

Usage: python -m tests.machines.machines [--only NAME] [--fans N] [--arrive SECONDS] [--late SECONDS] [--json]
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.faults.fans import Asked, ask, ask_evenly, say
from tests.load.wechat import WeChat
from tests.machines.farm import Farm, farm
from tests.machines.network import Machine, apart
from tests.machines.outcome import ROWS, Outcome, outcome
from tests.servers import wait_for

_SLOW_SECONDS = 8
_FIRST = 60  # who ask for the access token at once, before anything is lost
_ANSWERED_WITHIN_SECONDS = 60  # after the last one was asked; a run that is cut begins again
_GRACE_SECONDS = 3  # for what comes twice
_PASSED_ON = ("fans", "arrive", "late")


class Scenario(NamedTuple):
    """What is lost, and when: the share of the time in which the fans arrive, the machine's name, and how."""

    name: str
    losses: Sequence[tuple[float, str, Callable[[Machine], None]]] = ()


SCENARIOS = [
    Scenario("nothing is lost"),
    Scenario("a host is killed, another cut off", [(0.5, "host1", Machine.kill), (0.6, "host2", Machine.cut)]),
    Scenario("a host is killed after the last deliveries", [(1.7, "host1", Machine.kill)]),
    Scenario("the machine of Redis' master is killed", [(0.5, "store1", Machine.kill)]),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="scenarios whose name has this in it")
    parser.add_argument("--fans", type=int, default=1000)
    parser.add_argument("--arrive", type=float, default=10, help="seconds in which they come")
    parser.add_argument("--late", type=float, default=20, help="seconds that every fifth one's handler takes")
    parser.add_argument("--json", action="store_true", help="an object a line, instead of the table")
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)  # it is there already
    options = parser.parse_args()
    scenarios = [scenario for scenario in SCENARIOS if options.only in scenario.name]
    if options.apart:
        print(json.dumps(play(scenarios[0], options)._asdict()), flush=True)
        return 0
    told = [_told_apart(scenario, options) for scenario in scenarios]
    if options.json:
        print(*told, sep="\n")
    else:
        _print_table(scenarios, [Outcome(**json.loads(one)) for one in told])
    return 0


def _told_apart(scenario: Scenario, options: argparse.Namespace) -> str:
    print(f"{scenario.name} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "tests.machines.machines", "--apart", "--only", scenario.name]
    command += [word for name in _PASSED_ON for word in (f"--{name}", str(getattr(options, name)))]
    return subprocess.run(apart(command), stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _print_table(scenarios: list[Scenario], outcomes: list[Outcome]) -> None:
    print(
        "|", " | ".join([f"{outcomes[0].fans:,} slow conversations", *(scenario.name for scenario in scenarios)]), "|"
    )
    print("|---" + "|---:" * len(scenarios) + "|")
    for name, count in ROWS:
        print("|", " | ".join([name, *(f"{count(done):,}" for done in outcomes)]), "|")


def play(scenario: Scenario, options: argparse.Namespace) -> Outcome:
    """Let the fans ask, every fifth for what takes too long for a delivery, lose machines, and count."""
    with tempfile.TemporaryDirectory() as name, farm(Path(name)) as running:
        names = {name for _, name, _ in scenario.losses}
        lost = set().union(*(host.pids for host in running.hosts if host.name in names))
        with WeChat([running.url]) as wechat:
            _ask_for_tokens(wechat)
            with _losing(running, scenario, options.arrive):
                asked = _ask(wechat, running, options)
                _wait_for_messages(running, asked)
            tokens = len(running.api.calls_of("/cgi-bin/stable_token"))
            for host in running.hosts:
                host.mend()
            picked_up = _pick_up(wechat, running, asked)
            threading.Event().wait(_GRACE_SECONDS)
        return outcome(running, asked, picked_up, lost, tokens)


@contextmanager
def _losing(running: Farm, scenario: Scenario, seconds: float) -> Iterator[None]:
    machines = {machine.name: machine for machine in (*running.hosts, *running.stores)}
    timers = [threading.Timer(share * seconds, lose, [machines[name]]) for share, name, lose in scenario.losses]
    for timer in timers:
        timer.start()
    yield
    for timer in timers:
        timer.join()


def _ask_for_tokens(wechat: WeChat) -> None:
    told = {one.result.shown for one in [ask(wechat, "token") for _ in range(_FIRST)]}
    if len([text for text in told if re.fullmatch("[0-9a-f]{8}", text)]) != 1:
        raise RuntimeError(f"the hosts have not one token: {told}")


def _ask(wechat: WeChat, running: Farm, options: argparse.Namespace) -> list[Asked]:
    what = [f"slow {_SLOW_SECONDS if number % 5 else options.late}" for number in range(options.fans)]
    asked = []
    for one in ask_evenly(wechat, what, options.fans / options.arrive):
        running.api.wechat.heard(one.openid)
        asked.append(one)
    return asked


def _wait_for_messages(running: Farm, asked: list[Asked]) -> None:
    waiting = {one.openid for one in asked if not one.is_right}
    with suppress(TimeoutError):
        wait_for(lambda: waiting <= {said["touser"] for said in running.api.wechat.messages}, _ANSWERED_WITHIN_SECONDS)


def _pick_up(wechat: WeChat, running: Farm, asked: list[Asked]) -> set[str]:
    """Let who got no answer say the pickup word, and return who gets the answer then."""
    answered = {said["touser"] for said in running.api.wechat.messages}
    waiting = [(one, say(wechat, one.openid, "1")) for one in asked if not one.is_right and one.openid not in answered]
    return {one.openid for one, said in waiting if said.result().shown == one.expected}


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
