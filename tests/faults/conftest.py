"""A service to do harm to: uWSGI from the shipped ini, behind nginx or alone, and Redis where it is asked for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.redis_server import RedisServer
from tests.faults.service import Service
from tests.load.customer_service import CustomerService
from tests.load.site import site
from tests.servers import environment


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Return a function that starts a service: ``serve(processes=1, WECHAT_DELIVERIES="1")``.

    With ``customer_service`` late answers go there; ``folder`` is for a second service beside the first.
    """
    with ExitStack() as stack:

        def start(
            *,
            folder: Path = tmp_path,
            through_nginx: bool = True,
            processes: int = 2,
            replacements: dict[str, str] | None = None,
            customer_service: CustomerService | None = None,
            **settings: Any,
        ) -> Service:
            changes = {"processes = 2": f"processes = {processes}"}
            env = {"LOAD_RUNS": str(folder / "runs"), "WECHAT_HANDLERS": "tests.load.handlers"} | settings
            if customer_service:
                env["LOAD_CUSTOMER_SERVICE"] = customer_service.url
                changes["module = runserver:application"] = "module = tests.load.service:application"
            changes |= replacements or {}
            running = site(folder, environment(**env), through_nginx=through_nginx, replacements=changes)
            url, server = stack.enter_context(running)
            return Service(url, server, folder)

        yield start


@pytest.fixture
def customer_service() -> Iterator[CustomerService]:
    with CustomerService() as running:
        yield running


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert [process for process in Path("/proc").glob("[0-9]*") if _works_in(process, tmp_path)] == []


def _works_in(process: Path, folder: Path) -> bool:
    # By its folder: uWSGI's processes have names of their own, without a path.
    try:
        return (process / "cwd").readlink().is_relative_to(folder)
    except OSError:  # it has ended meanwhile
        return False
