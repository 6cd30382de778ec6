"""The scenarios in a short form. They are mostly waiting, so they run at the same time."""

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import pytest

from tests.machines.machines import SCENARIOS
from tests.servers import ROOT

FANS = 150
_SHORT = ["--fans", str(FANS), "--arrive", "4", "--late", "15.5", "--json"]


@pytest.fixture(scope="module")
def outcomes() -> list[dict[str, Any]]:
    """What came of losing hosts, and of losing Redis' master."""
    command = [sys.executable, "-m", "tests.machines.machines", *_SHORT, "--only"]
    names = [SCENARIOS[1].name, SCENARIOS[3].name]
    with ExitStack() as stack:
        running = []
        for name in names:
            running.append(stack.enter_context(subprocess.Popen([*command, name], cwd=ROOT, stdout=subprocess.PIPE)))
            stack.callback(running[-1].kill)
        told = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    return [json.loads(one) for one in told]


def test_every_fan_is_answered_once_while_a_host_is_killed_and_another_cut_off(outcomes: list[dict[str, Any]]) -> None:
    done = outcomes[0]
    assert (done["never"], done["twice"], done["never_cut"], done["again"]) == ([], [], [], [])
    assert done["by_delivery"] + done["by_message"] + done["by_pickup"] == done["fans"] + len(done["twice_cut"])
    assert done["runs"] == done["fans"] + done["cut"]
    assert done["cut"] >= FANS // 10  # or nothing was lost
    assert (done["tokens"], done["master"]) == (1, "store1")


def test_every_fan_is_answered_while_redis_fails_over(outcomes: list[dict[str, Any]]) -> None:
    done = outcomes[1]
    assert (done["never"], done["never_cut"]) == ([], [])
    assert done["by_delivery"] > 0.7 * done["fans"]
    assert (done["tokens"], done["master"] in ("store2", "store3")) == (1, True)
