"""The soak in a short form, and its judgement."""

from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.sandbox.phone import FAILURE_NOTICE
from tests.load.site import Footprint
from tests.load.wechat import Result
from tests.soak.soak import Soak, cache_failures, soak
from tests.soak.traffic import ERROR_REPLY, HOLD_REPLY, KINDS, Said, Verdict, judge

WORKERS = 2


@pytest.mark.timeout(300)
def test_with_everything_at_once_nothing_is_lost_answered_twice_or_refused(tmp_path: Path) -> None:
    done = soak(tmp_path, 36, apart_seconds=2)
    assert done.is_right, done
    assert {verdict.kind.name: verdict.messages > 5 for verdict in done.verdicts} == {kind.name: True for kind in KINDS}
    assert {"kill a worker", "reload in a chain", "redis says nothing", "redis dies"} <= done.faults.keys()
    assert done.refused > 50
    # Those of handlers end when idle; a worker may have started its event loop only after the first look.
    assert done.footprints[-1].threads <= done.footprints[0].threads + WORKERS


def result(shown: str, *, answered: bool = True, reason: str = "") -> Result:
    return Result(shown, answered, 1, 0.1, reason)


def judged(kind: int, *said: Result, late: tuple[str, ...] = (), picked_up: str = "1", cut: bool = False) -> Verdict:
    """Return the verdict on one fan's message of this kind, with what the fan got."""
    sent = []
    for one in said:
        future: Future[Result] = Future()
        future.set_result(one)
        sent.append(Said(KINDS[kind], "oFan", future))
    pickup: Future[Result] = Future()
    pickup.set_result(result(picked_up))
    server: Any = SimpleNamespace(
        wechat=SimpleNamespace(messages=[{"touser": "oFan", "text": {"content": text}} for text in late])
    )
    wechat: Any = SimpleNamespace(send=lambda fan, message: pickup)
    fans: Any = SimpleNamespace(said=sent)
    return list(judge(fans, server, wechat, {"oFan"} if cut else set()))[kind]


QUICK, SLOW, LATE, FAILING, FOLLOW = range(5)
GONE = result(FAILURE_NOTICE, answered=False, reason="no answer; no answer; status 502")


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (judged(QUICK, result("quick oFan")), (1, 1, 0, 0, 0, 0)),
        (judged(QUICK, result("quick oFan"), result("quick oFan")), (1, 1, 0, 0, 0, 0)),
        (judged(QUICK, result("quick oFan"), late=("quick oFan",)), (1, 0, 0, 0, 1, 0)),
        (judged(QUICK, result("quick oSomebodyElse")), (1, 0, 1, 0, 0, 0)),
        (judged(SLOW, GONE), (1, 0, 1, 0, 0, 0)),
        (judged(SLOW, GONE, picked_up="answer oFan"), (1, 0, 0, 0, 1, 0)),  # for each of three pickup words
        (judged(LATE, result("")), (1, 0, 1, 0, 0, 0)),
        (judged(LATE, result(""), cut=True), (1, 0, 0, 1, 0, 0)),
        (judged(LATE, result(""), late=("answer oFan",)), (1, 1, 0, 0, 0, 0)),
        (judged(LATE, result(HOLD_REPLY), late=("answer oFan", "answer oFan")), (1, 0, 0, 0, 1, 0)),
        (judged(FAILING, result(ERROR_REPLY)), (1, 1, 0, 0, 0, 0)),
        (judged(FOLLOW, result("")), (1, 1, 0, 0, 0, 0)),
        (judged(FOLLOW, result(FAILURE_NOTICE, answered=False, reason="status 403")), (1, 0, 1, 0, 0, 1)),
    ],
)
def test_what_fans_got_is_counted(verdict: Verdict, expected: tuple[int, ...]) -> None:
    assert verdict[1:] == expected


def test_a_forgery_that_passes_and_memory_that_grows_are_seen() -> None:
    verdicts = [judged(QUICK, result("quick oFan"))]
    footprints = [Footprint(100, 10, 10), Footprint(100, 10, 10), Footprint(115, 10, 10)]
    right = Soak(verdicts, 10, 0, 3, 1, Counter(), 1, footprints)
    assert (right.is_right, round(right.growth, 2)) == (True, 0.15)
    assert not right._replace(taken=1).is_right
    assert not right._replace(verdicts=[judged(SLOW, GONE)]).is_right


def test_when_a_worker_does_without_the_cache_its_log_says_so() -> None:
    output = "\n".join(
        [
            "2026-11-21T00:03:38.500+0000 ERROR wechat.cache the cache fails, and messages may be handled twice: x",
            "2026-11-21T00:03:39.500+0000 WARNING wechat.cache the cache is back",
            "2026-11-21T08:03:40.500+0800 ERROR wechat.cache the cache fails, and messages may be handled twice: x",
        ]
    )
    assert cache_failures(output) == [1795219418.5, 1795219420.5]
