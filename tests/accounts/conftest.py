"""Machines with accounts on them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.accounts.machine import Machine
from tests.faults.conftest import _nothing_is_left as _nothing_is_left
from tests.faults.conftest import redis_server as redis_server


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Return a function that starts nginx: ``make_machine({TEXT_OF_WECHAT_CONF: ITS_REPLACEMENT})``."""
    with ExitStack() as stack:

        def make(site: dict[str, str] | None = None, main: dict[str, str] | None = None) -> Machine:
            return stack.enter_context(Machine(tmp_path, site, main))

        yield make


@pytest.fixture
def machine(make_machine: Callable[..., Machine]) -> Any:
    """Return a machine without accounts."""
    return make_machine()
