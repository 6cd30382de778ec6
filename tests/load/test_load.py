"""The scenarios in a short form, and the judgement of what fans got."""

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.sandbox.phone import FAILURE_NOTICE
from tests.load import handlers
from tests.load.load import SCENARIOS
from tests.load.outcome import HOLD_REPLY, Outcome, Scenario, Talk, first_answer_seconds, outcome
from tests.load.site import Memory
from tests.load.talk import run
from tests.load.wechat import Result
from tests.servers import ROOT, environment

BY_NAME = {scenario.name: scenario._replace(fans=30, arrive_seconds=1, quick_per_second=10) for scenario in SCENARIOS}


@pytest.mark.parametrize(
    "scenario",
    [
        # Answered at the second delivery.
        BY_NAME["nginx, plain"]._replace(handler_seconds=6),
        BY_NAME["no nginx, plain"]._replace(handler_seconds=6, encrypt_mode="safe"),
        # The first delivery is the last one here, or these would take half a minute.
        BY_NAME["customer service"]._replace(handler_seconds=6, deliveries=1),
        BY_NAME["pickup word"]._replace(handler_seconds=6, deliveries=1),
    ],
    ids=lambda scenario: scenario.name,
)
def test_every_fan_is_answered_once_while_others_are_answered_at_once(scenario: Scenario) -> None:
    done = run(scenario)
    assert done.ok, done
    assert done.quick_total >= 50
    assert done.quick_p50_ms < 1000
    assert done.memory_mb >= done.idle_mb > 30


HOLDING = Scenario("x", "next_message", fans=1)
LATE = Scenario("x", "customer_service", fans=1)
REPLY = Scenario("x", fans=1)
(FAN,) = REPLY.openids
ANSWER = f"answer {FAN}"


def counted(scenario: Scenario, shown: list[str], late: tuple[str, ...] = (), deliveries: int = 3) -> Outcome:
    results = [Result(text, text != FAILURE_NOTICE, deliveries, 0.1, "no answer") for text in shown]
    return outcome(scenario, Talk({FAN: results}, [(FAN, text) for text in late], []), 1, 0.0)


@pytest.mark.parametrize(
    ("done", "right_twice_never_else"),
    [
        (counted(REPLY, [ANSWER, "1"]), (1, 0, 0, 0)),
        (counted(REPLY, [ANSWER, ANSWER]), (0, 1, 0, 0)),
        (counted(REPLY, [HOLD_REPLY, ANSWER]), (0, 0, 0, 1)),
        (counted(REPLY, [FAILURE_NOTICE, "1"]), (0, 0, 1, 1)),
        (counted(REPLY, ["answer oSomebodyElse", "1"]), (0, 0, 1, 1)),
        (counted(REPLY, ["", "1"]), (0, 0, 1, 1)),
        (counted(LATE, ["", "1"], (ANSWER,)), (1, 0, 0, 0)),
        (counted(LATE, ["", "1"]), (0, 0, 1, 0)),
        (counted(LATE, ["", "1"], (ANSWER, ANSWER)), (0, 1, 0, 0)),
        (counted(LATE, [ANSWER, "1"], (ANSWER,)), (0, 1, 0, 0)),
        (counted(LATE, ["", "1"], (ANSWER,), deliveries=2), (0, 0, 0, 1)),
        (counted(LATE, [FAILURE_NOTICE, "1"], (ANSWER,)), (0, 0, 0, 1)),
        (counted(HOLDING, [HOLD_REPLY, ANSWER, "1"]), (1, 0, 0, 0)),
        (counted(HOLDING, [HOLD_REPLY, ANSWER, ANSWER]), (0, 1, 0, 0)),
        (counted(HOLDING, [HOLD_REPLY, "1", "1"]), (0, 0, 1, 0)),
        (counted(HOLDING, [HOLD_REPLY, "1", ANSWER]), (0, 0, 0, 1)),
        (counted(HOLDING, [HOLD_REPLY, ANSWER, "1"], deliveries=1), (0, 0, 0, 1)),
    ],
)
def test_only_one_answer_on_the_right_way_counts(
    done: Outcome, right_twice_never_else: tuple[int, int, int, int]
) -> None:
    assert (done.right_once, done.twice, done.never, done.something_else) == right_twice_never_else
    assert done.ok == (right_twice_never_else == (1, 0, 0, 0))


def test_quick_messages_count_too() -> None:
    slow = {FAN: [Result(text, True, 1, 8.0, "") for text in (ANSWER, "1")]}
    quick = [Result(f"quick {number}", True, 1, number / 1000, "") for number in range(101)]
    done = outcome(REPLY, Talk(slow, [], quick), 1, 0.0)
    assert (done.ok, done.quick_right, done.quick_total) == (True, 101, 101)
    assert (round(done.quick_p50_ms), round(done.quick_p99_ms)) == (50, 99)
    quick[7] = Result("quick 8", True, 1, 0.0, "")
    done = outcome(REPLY, Talk(slow, [("oQuickFan", "quick 7")], quick), 1, 0.0)
    assert (done.ok, done.quick_right, done.something_else) == (False, 100, 1)
    assert set(done.strange) == {"quick 8", "late: quick 7"}


def test_percentiles_leave_out_who_wrote_before_the_first_answer() -> None:
    waited = [Result(f"quick {number}", True, 1, 1.1 - number / 50, "") for number in range(50)]
    others = [Result(f"quick {number}", True, 1, 0.002, "") for number in range(50, 200)]
    ready_seconds = first_answer_seconds(REPLY, waited + others)
    assert ready_seconds == pytest.approx(1.002)
    done = outcome(REPLY, Talk({}, [], waited + others), 0, 0.0, ready_seconds=ready_seconds)
    assert (round(done.quick_p99_ms), round(done.quick_worst_ms)) == (2, 1100)


def test_what_was_to_be_reached_and_was_not_is_said() -> None:
    wanted = REPLY._replace(fans=0, below_p99_ms=50, below_worst_ms=100, below_memory_mb=200)
    quick = [Result(f"quick {number}", True, 1, 0.06, "") for number in range(10)]
    assert outcome(wanted, Talk({}, [], []), 0, 199.0).missed == []
    assert outcome(wanted, Talk({}, [], quick), 0, 200.0).missed == [
        "quick p99 60 ms, not below 50",
        "memory 200 MB, not below 200",
    ]
    assert outcome(wanted, Talk({}, [], []), 1, 0.0).missed == ["not everybody was answered right, once"]


@pytest.mark.parametrize("runs", [0, 2])
def test_a_handler_that_ran_again_is_not_right(runs: int) -> None:
    slow = {FAN: [Result(text, True, 1, 8.0, "") for text in (ANSWER, "1")]}
    assert not outcome(REPLY, Talk(slow, [], []), runs, 0.0).ok


def test_the_memory_is_that_of_all_processes() -> None:
    held = "x = bytearray(40_000_000); print(flush=True); input()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {held!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        process.stdout.readline()
        with Memory(process.pid) as memory:
            pass
        process.stdin.close()
    assert 40 < memory.peak_mb < 200


def test_a_handler_does_what_the_fan_says() -> None:
    message = SimpleNamespace(match={"seconds": "0.01", "name": "n"}, content="hi")
    assert asyncio.run(handlers.patient(message)) == "answer n"
    assert (handlers.slow(message), handlers.quick(message), handlers.echo(message)) == ("answer n", "quick n", "hi")
    with pytest.raises(RuntimeError, match="asked for by n"):
        handlers.fail(message)


def test_runs_of_all_processes_are_counted(tmp_path: Path) -> None:
    code = (
        "from types import SimpleNamespace; from tests.load import handlers\n"
        "for n in range(500): handlers.quick(SimpleNamespace(match={'name': str(n)}))"
    )
    env = environment(LOAD_RUNS=str(tmp_path / "runs"))
    running = [subprocess.Popen([sys.executable, "-c", code], env=env, cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    lines = (tmp_path / "runs").read_text().splitlines()
    expected = [f"quick {number} {process.pid}" for number in range(500) for process in running]
    assert sorted(lines) == sorted(expected)
