"""Play many slow conversations against the service, and print whether each fan got the answer exactly once.

Usage: python -m tests.load.load [--only NAME] [--fans N] [--seconds S] [--quick N]
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence

from tests.load.outcome import Outcome, Scenario
from tests.load.talk import run

_THOUSAND = Scenario("nginx, plain", below_p99_ms=50, below_memory_mb=200)
# Twenty seconds are past the last delivery, so that every answer is late.
_FIVE_THOUSAND = Scenario(
    "customer service",
    "customer_service",
    fans=5000,
    arrive_seconds=20,
    handler="async",
    handler_seconds=20,
    below_p99_ms=100,
    below_memory_mb=300,
)
SCENARIOS = [
    _THOUSAND,
    _THOUSAND._replace(name="nginx, safe", encrypt_mode="safe"),
    _THOUSAND._replace(name="no nginx, plain", through_nginx=False),
    _THOUSAND._replace(name="no nginx, safe", through_nginx=False, encrypt_mode="safe"),
    _FIVE_THOUSAND,
    _FIVE_THOUSAND._replace(name="pickup word", way="next_message"),
]
_BELOW_IDLE_MB = 130
_HEAD = (
    "scenario|fans|right once|twice|never|something else|handler runs|quick right|quick p50 ms|quick p99 ms|memory MB"
)
_OPEN_FILES = 16384  # two for each of 5,000 fans, in nginx, and some


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="scenarios whose name has this in it")
    parser.add_argument("--fans", type=int, help="how many fans, instead of each scenario's own number")
    parser.add_argument("--seconds", type=float, help="how long the handlers take")
    parser.add_argument("--quick", type=float, help="quick messages a second")
    options = parser.parse_args()
    given = {"fans": options.fans, "handler_seconds": options.seconds, "quick_per_second": options.quick}
    changes = {name: value for name, value in given.items() if value is not None}
    scenarios = [scenario._replace(**changes) for scenario in SCENARIOS if options.only in scenario.name]
    if not scenarios:
        parser.error(f"no scenario has {options.only!r} in its name")
    allow_open_files()
    outcomes = [_reported(scenario) for scenario in scenarios]
    print_table(outcomes)
    idle_mb = max(done.idle_mb for done in outcomes)
    print(f"\nIdle, before any message: {idle_mb:,.0f} MB (to reach: below {_BELOW_IDLE_MB}).")
    return 1 if any(done.missed for done in outcomes) or idle_mb >= _BELOW_IDLE_MB else 0


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print a Markdown table on stdout, one row an outcome."""
    print("|", _HEAD.replace("|", " | "), "|")
    print("|---" + "|---:" * _HEAD.count("|") + "|")
    for done in outcomes:
        counts = (done.scenario.fans, done.right_once, done.twice, done.never, done.something_else, done.runs)
        cells = [done.scenario.name, *(f"{count:,}" for count in counts), f"{done.quick_right:,}/{done.quick_total:,}"]
        cells += [f"{done.quick_p50_ms:,.1f}", f"{done.quick_p99_ms:,.1f}", f"{done.memory_mb:,.0f}"]
        print("|", " | ".join(cells), "|")


def _reported(scenario: Scenario) -> Outcome:
    print(f"{scenario.name}: {scenario.fans} fans, {scenario.handler_seconds:g} s ...", file=sys.stderr, flush=True)
    started, cpu_started = time.monotonic(), time.process_time()
    done = run(scenario)
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
    core = f"this tool took {cpu_seconds / seconds:.0%} of a core"
    print(f"{scenario.name}: {verdict(done)} after {seconds:.0f} s; {core}", file=sys.stderr, flush=True)
    print_strange(done)
    return done


def verdict(done: Outcome) -> str:
    """Say in words whether all was reached that was to be, and else what was not."""
    return f"NOT REACHED ({'; '.join(done.missed)})" if done.missed else "reached"


def print_strange(done: Outcome) -> None:
    """Print on stderr what fans saw that nobody should have seen, the most frequent five."""
    for text, count in done.strange.most_common(5):
        print(f"    {count} x {text!r}", file=sys.stderr)


def allow_open_files() -> None:
    """Let this process, and what it starts, open as many files as a load takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    # No more than that: uWSGI takes memory for each file that it may open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


if __name__ == "__main__":
    sys.exit(main())
