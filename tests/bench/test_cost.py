"""What the documentation says of the cost of a message, as far as it is the same everywhere."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.bench.cost import CASES, Cost, commands_cell, measure
from tests.servers import ROOT

_MESSAGES = 20


@pytest.fixture(scope="module")
def costs() -> list[Cost]:
    """What each of CASES costs, measured at the same time: one is mostly waiting."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda case: measure(case, _MESSAGES, processes=1), CASES))


@pytest.mark.parametrize("page", ["scaling.md", "scaling.zh-CN.md"])
def test_a_message_takes_as_many_commands_of_redis_as_the_documentation_says(costs: list[Cost], page: str) -> None:
    rows = re.findall(
        r"^\| (?:commands of Redis|Redis 命令) \| (.+) \|$", (ROOT / "docs" / page).read_text(), re.MULTILINE
    )
    assert [row.split(" | ") for row in rows] == [[commands_cell(cost) for cost in costs]]


def test_every_item_in_redis_has_an_end(costs: list[Cost]) -> None:
    for cost in costs:
        assert {"message", "window"} <= cost.kinds.keys()
        assert all(0 < seconds <= 48 * 3600 for _, _, seconds in cost.kinds.values())
        assert cost.used["redis_in_bytes"] > 500
        assert cost.used["uwsgi_seconds"] >= 0
