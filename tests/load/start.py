"""Start the service under load, again and again, and print whether every fan was answered right each time.

Usage: python -m tests.load.start [--times N] [--only NAME]

The service is started as `make run` does it. Fans write from the moment the port accepts connections, about a second
before a worker has loaded the application. p50 and p99 are those of quick messages sent after the first answer; the
worst is that of all.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.load.load import allow_open_files, print_strange, verdict
from tests.load.outcome import Outcome, Scenario
from tests.load.starting import go_on, reload_and_kill, start

_HEAD = "scenario|starts|all right|slow right once|quick right|first answer s|quick p50 ms|quick p99 ms|worst ms"


class Trial(NamedTuple):
    """A scenario, what plays it, and whether the server has one core, and this tool another."""

    scenario: Scenario
    play: Callable[[Scenario, bool], Outcome] = start
    on_one_core: bool = False


_START = Scenario("start, 2 cores, 400 fans", fans=400, through_nginx=False, below_p99_ms=500)
TRIALS = [
    Trial(_START),
    Trial(_START._replace(name="start, 2 cores, 1,000 fans", fans=1000)),
    Trial(_START._replace(name="start, 1 core, 100 fans", fans=100, quick_per_second=20), on_one_core=True),
    Trial(
        Scenario("reload and kill -9, 1 core", fans=0, through_nginx=False, quick_per_second=200, below_worst_ms=500),
        reload_and_kill,
        on_one_core=True,
    ),
    Trial(
        Scenario(
            "callers hang up after 4.8 to 9 s",
            fans=93,
            handler_seconds=13,
            through_nginx=False,
            hang_up_seconds=(4.8, 9.0),
        ),
        go_on,
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="how often each scenario is played")
    parser.add_argument("--only", default="", help="scenarios whose name has this in it")
    options = parser.parse_args()
    trials = [trial for trial in TRIALS if options.only in trial.scenario.name]
    if not trials or options.times < 1:
        parser.error(f"no scenario has {options.only!r} in its name, or none is to be played")
    allow_open_files()
    rows = [[_reported(trial, time) for time in range(1, options.times + 1)] for trial in trials]
    print("|", _HEAD.replace("|", " | "), "|")
    print("|---" + "|---:" * _HEAD.count("|") + "|")
    for outcomes in rows:
        print("|", " | ".join(row(outcomes)), "|")
    return 1 if any(done.missed for outcomes in rows for done in outcomes) else 0


def row(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the cells of a scenario: sums, the median of p50, and of all other times the worst start's."""
    fans = sum(done.scenario.fans for done in outcomes)
    quick = [sum(done.quick_right for done in outcomes), sum(done.quick_total for done in outcomes)]
    ready_seconds = max(done.ready_seconds for done in outcomes)
    milliseconds = [
        statistics.median(done.quick_p50_ms for done in outcomes),
        max(done.quick_p99_ms for done in outcomes),
        max(done.quick_worst_ms for done in outcomes),
    ]
    return [
        outcomes[0].scenario.name,
        str(len(outcomes)),
        str(sum(done.ok for done in outcomes)),
        f"{sum(done.right_once for done in outcomes):,}/{fans:,}" if fans else "",
        f"{quick[0]:,}/{quick[1]:,}",
        f"{ready_seconds:.1f}" if ready_seconds else "",
        *(f"{value:,.0f}" for value in milliseconds),
    ]


def _reported(trial: Trial, time: int) -> Outcome:
    done = trial.play(trial.scenario, trial.on_one_core)
    cells = dict(zip(_HEAD.split("|")[3:], row([done])[3:], strict=True))
    figures = ", ".join(f"{name} {value}" for name, value in cells.items() if value)
    print(f"{trial.scenario.name}, {time}: {figures}: {verdict(done)}", file=sys.stderr, flush=True)
    print_strange(done)
    return done


if __name__ == "__main__":
    sys.exit(main())
