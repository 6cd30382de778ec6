"""A scenario, played: a service of its own, the fans who write to it, and all that they got."""

import gc
import itertools
import random
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from app.sandbox.messages import text_message
from tests.load.customer_service import CustomerService
from tests.load.outcome import WAYS, Outcome, Scenario, Talk, outcome
from tests.load.site import Memory, footprint, site
from tests.load.wechat import Result, WeChat
from tests.servers import AES_KEY, APPID, environment, wait_for

_QUICK_FANS = 100
_FIRST = 50  # messages that find a server just started; they are not counted
_GRACE_SECONDS = 3  # after the handlers' end, until their answers must be there
_LATE_SECONDS = 15  # how long a customer-service message may take beyond the handler


def run(scenario: Scenario) -> Outcome:
    """Play ``scenario`` against a service of its own and return what came of it.

    Raises RuntimeError when the service does not start.
    """
    with tempfile.TemporaryDirectory() as name, CustomerService() as customer_service, no_pauses():
        folder = Path(name)
        env = settings(scenario, folder) | {"LOAD_CUSTOMER_SERVICE": customer_service.url}
        late = scenario.way == "customer_service"
        module = {"module = runserver:application": "module = tests.load.service:application"} if late else {}
        with (
            site(folder, env, through_nginx=scenario.through_nginx, replacements=module) as service,
            WeChat([service.url], scenario.encrypt_mode, deliveries=scenario.deliveries) as wechat,
        ):
            idle_mb = footprint(service.uwsgi.process.pid).memory_mb
            with Memory(service.uwsgi.process.pid) as memory:
                results(send(wechat, [(f"oFirstFan{number:019}", "first") for number in range(_FIRST)], _FIRST))
                talk = converse(scenario, wechat, customer_service)
        return outcome(scenario, talk, slow_runs(folder), memory.peak_mb, idle_mb=idle_mb)


def settings(scenario: Scenario, folder: Path) -> dict[str, str]:
    """Return the environment of a service for ``scenario``, which counts its handlers' runs in ``folder``."""
    sealed = {"WECHAT_APPID": APPID, "WECHAT_ENCODING_AES_KEY": AES_KEY}
    return environment(
        WECHAT_HANDLERS="tests.load.handlers",
        WECHAT_ENCRYPT_MODE=scenario.encrypt_mode,
        WECHAT_DELIVERIES=str(scenario.deliveries),
        LOAD_RUNS=str(folder / "runs"),
        **(sealed if scenario.encrypt_mode != "normal" else {}),
    )


def slow_runs(folder: Path) -> int:
    """Return how often a slow handler was started, once the service of ``folder`` has ended."""
    runs = folder / "runs"
    lines = runs.read_text().splitlines() if runs.exists() else []
    return sum(line.startswith(("slow ", "async ")) for line in lines)


def converse(scenario: Scenario, wechat: WeChat, customer_service: CustomerService | None = None) -> Talk:
    """Let the fans arrive while others send quick messages, wait for late answers, then let each fan ask for more."""
    fans = scenario.openids
    per_second = len(fans) / scenario.arrive_seconds
    finished = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        quick = pool.submit(send, wechat, quick_messages(), scenario.quick_per_second, finished)
        try:
            slow = [(openid, f"{scenario.handler} {scenario.handler_seconds:g} {openid}") for openid in fans]
            sent = send(wechat, slow, per_second, hang_up_seconds=scenario.hang_up_seconds)
            last_end = time.monotonic() + scenario.handler_seconds
            seen = [results(sent)]
            _wait_for_late_answers(scenario, customer_service, last_end)
        finally:
            finished.set()
    asking = [(openid, "1") for openid in fans]
    seen += [results(send(wechat, asking, per_second)) for _ in range(WAYS[scenario.way].asks)]
    by_fan = dict(zip(fans, zip(*seen, strict=True), strict=True))
    late = list(customer_service.messages) if customer_service else []
    return Talk(by_fan, late, results(quick.result()))


def send(
    wechat: WeChat,
    messages: Iterable[tuple[str, str]],
    per_second: float,
    finished: threading.Event | None = None,
    hang_up_seconds: tuple[float, float] | None = None,
) -> list[Future[Result]]:
    """Send (openid, text) evenly, until there are no more or ``finished`` is set."""
    sent, started = [], time.monotonic()
    finished = finished or threading.Event()
    for number, (openid, text) in enumerate(messages):
        if finished.wait(max(0.0, started + number / per_second - time.monotonic())):
            break
        seconds = random.uniform(*hang_up_seconds) if hang_up_seconds else None
        sent.append(wechat.send(openid, text_message(openid, text), seconds))
    return sent


def quick_messages() -> Iterable[tuple[str, str]]:
    """Yield (openid, text) of messages that are answered with their number, without an end."""
    for number in itertools.count():
        yield f"oQuickFan{number % _QUICK_FANS:019}", f"quick {number}"


def results(sent: list[Future[Result]]) -> list[Result]:
    """Wait for what came of all messages."""
    return [future.result() for future in sent]


@contextmanager
def no_pauses() -> Iterator[None]:
    """Collect no garbage in this process while the context is entered.

    With 5,000 conversations a collection takes 90 ms, which would be measured as the service's.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _wait_for_late_answers(scenario: Scenario, customer_service: CustomerService | None, last_end: float) -> None:
    remaining_seconds = last_end - time.monotonic()
    if scenario.way == "customer_service" and customer_service:
        with suppress(TimeoutError):
            wait_for(lambda: len(customer_service.messages) >= scenario.fans, remaining_seconds + _LATE_SECONDS)
        threading.Event().wait(_GRACE_SECONDS)  # for what comes twice
    elif scenario.way == "next_message":
        threading.Event().wait(max(0.0, remaining_seconds) + _GRACE_SECONDS)
