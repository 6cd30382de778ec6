"""Play many slow conversations against the service, and print whether each fan got the answer exactly once.

Usage: python -m tests.load.load [--only NAME] [--fans N] [--seconds S] [--quick N]
"""

import argparse
import itertools
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from app.sandbox.messages import text_message
from tests.load.customer_service import CustomerService
from tests.load.outcome import WAYS, Outcome, Scenario, Talk, outcome
from tests.load.site import Memory, site
from tests.load.wechat import Result, WeChat
from tests.servers import AES_KEY, APPID, environment, wait_for

SCENARIOS = [
    Scenario("nginx, plain"),
    Scenario("nginx, safe", encrypt_mode="safe"),
    Scenario("no nginx, plain", through_nginx=False),
    Scenario("customer service", "customer_service", fans=300, handler_seconds=20),
    Scenario("next message", "next_message", fans=300, handler_seconds=20),
]
_HEAD = (
    "scenario|fans|right once|twice|never|something else|handler runs|quick right|quick p50 ms|quick p99 ms|memory MB"
)
_OPEN_FILES = 8192  # two for each fan, in nginx, and some
_QUICK_FANS = 100
_FIRST = 50  # messages that find a server just started; they are not counted
_GRACE_SECONDS = 3  # after the handlers' end, until their answers must be there
_LATE_SECONDS = 15  # how long a customer-service message may take beyond the handler


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
    return 0 if all(done.ok for done in outcomes) else 1


def print_table(outcomes: list[Outcome]) -> None:
    """Print a Markdown table on stdout, one row an outcome."""
    print("|", _HEAD.replace("|", " | "), "|")
    print("|---" + "|---:" * _HEAD.count("|") + "|")
    for done in outcomes:
        counts = (done.scenario.fans, done.right_once, done.twice, done.never, done.something_else, done.runs)
        cells = [done.scenario.name, *(f"{count:,}" for count in counts), f"{done.quick_right:,}/{done.quick_total:,}"]
        cells += [f"{done.quick_p50_ms:,.1f}", f"{done.quick_p99_ms:,.1f}", f"{done.memory_mb:,.0f}"]
        print("|", " | ".join(cells), "|")


def _reported(scenario: Scenario) -> Outcome:
    started, cpu_started = time.monotonic(), time.process_time()
    print(f"{scenario.name}: {scenario.fans} fans, {scenario.handler_seconds:g} s ...", file=sys.stderr, flush=True)
    done = run(scenario)
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
    verdict = "right" if done.ok else "NOT RIGHT"
    core = f"this tool took {cpu_seconds / seconds:.0%} of a core"
    print(f"{scenario.name}: {verdict} after {seconds:.0f} s; {core}", file=sys.stderr, flush=True)
    for text, count in done.strange.most_common(5):
        print(f"    {count} x {text!r}", file=sys.stderr)
    return done


def run(scenario: Scenario) -> Outcome:
    """Play ``scenario`` against a service of its own and return what came of it.

    Raises RuntimeError when the service does not start.
    """
    with tempfile.TemporaryDirectory() as name, CustomerService() as customer_service:
        folder = Path(name)
        runs = folder / "runs"
        env = environment(**_settings(scenario), LOAD_RUNS=str(runs), LOAD_CUSTOMER_SERVICE=customer_service.url)
        late = scenario.way == "customer_service"
        module = {"module = runserver:application": "module = tests.load.service:application"} if late else {}
        with (
            site(folder, env, through_nginx=scenario.through_nginx, replacements=module) as service,
            WeChat([service.url], scenario.encrypt_mode, deliveries=scenario.deliveries) as wechat,
            Memory(service.uwsgi.process.pid) as memory,
        ):
            _results(_send(wechat, [(f"oFirstFan{number:019}", "first") for number in range(_FIRST)], _FIRST))
            talk = _talk(scenario, wechat, customer_service)
        started = runs.read_text().splitlines() if runs.exists() else []
    slow_runs = sum(line.startswith("slow ") for line in started)
    return outcome(scenario, talk, slow_runs, memory.peak_mb)


def _settings(scenario: Scenario) -> dict[str, str]:
    settings = {
        "WECHAT_HANDLERS": "tests.load.handlers",
        "WECHAT_ENCRYPT_MODE": scenario.encrypt_mode,
        "WECHAT_DELIVERIES": str(scenario.deliveries),
    }
    sealed = {"WECHAT_APPID": APPID, "WECHAT_ENCODING_AES_KEY": AES_KEY}
    return settings | (sealed if scenario.encrypt_mode != "normal" else {})


def _talk(scenario: Scenario, wechat: WeChat, customer_service: CustomerService) -> Talk:
    """Let the fans arrive while others send quick messages, wait for late answers, then let each fan ask for more."""
    fans = scenario.openids
    per_second = len(fans) / scenario.arrive_seconds
    finished = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        quick = pool.submit(_send, wechat, _quick_messages(), scenario.quick_per_second, finished)
        try:
            slow = [(openid, f"slow {scenario.handler_seconds:g} {openid}") for openid in fans]
            sent = _send(wechat, slow, per_second)
            last_end = time.monotonic() + scenario.handler_seconds
            seen = [_results(sent)]
            _wait_for_late_answers(scenario, customer_service, last_end)
        finally:
            finished.set()
    asking = [(openid, "1") for openid in fans]
    seen += [_results(_send(wechat, asking, per_second)) for _ in range(WAYS[scenario.way].asks)]
    by_fan = dict(zip(fans, zip(*seen, strict=True), strict=True))
    return Talk(by_fan, list(customer_service.messages), _results(quick.result()))


def _send(
    wechat: WeChat, messages: Iterable[tuple[str, str]], per_second: float, finished: threading.Event | None = None
) -> list[Future[Result]]:
    """Send (openid, text) evenly, until there are no more or ``finished`` is set."""
    sent, started = [], time.monotonic()
    finished = finished or threading.Event()
    for number, (openid, text) in enumerate(messages):
        if finished.wait(max(0.0, started + number / per_second - time.monotonic())):
            break
        sent.append(wechat.send(openid, text_message(openid, text)))
    return sent


def _quick_messages() -> Iterable[tuple[str, str]]:
    for number in itertools.count():
        yield f"oQuickFan{number % _QUICK_FANS:019}", f"quick {number}"


def _results(sent: list[Future[Result]]) -> list[Result]:
    return [future.result() for future in sent]


def _wait_for_late_answers(scenario: Scenario, customer_service: CustomerService, last_end: float) -> None:
    remaining_seconds = last_end - time.monotonic()
    if scenario.way == "customer_service":
        with suppress(TimeoutError):
            wait_for(lambda: len(customer_service.messages) >= scenario.fans, remaining_seconds + _LATE_SECONDS)
        threading.Event().wait(_GRACE_SECONDS)  # for what comes twice
    elif scenario.way == "next_message":
        threading.Event().wait(max(0.0, remaining_seconds) + _GRACE_SECONDS)


def allow_open_files() -> None:
    """Let this process, and what it starts, open as many files as a load takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    # No more than that: uWSGI takes memory for each file that it may open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


if __name__ == "__main__":
    sys.exit(main())
