"""What the doctor's tests share: findings by name, and an account's checks run in its own context."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.api import get_api
from app.doctor.finding import Finding, Findings
from app.store import db
from tests.actors import Account
from tests.cache_servers import close

Look = Callable[..., list[Finding]]


def said(findings: Findings | list[Finding], name: str) -> list[tuple[str, str]]:
    """Return the status and the text of each line with this name."""
    return [(finding.status, f"{finding.found} -> {finding.todo}") for finding in findings if finding.name == name]


@pytest.fixture
def look(account: Callable[..., Account]) -> Iterator[Callable[..., list[Finding]]]:
    """Return a function that runs a check in an account's context: ``look(check, WECHAT_CACHE_URL=...)``."""
    opened: list[Account] = []

    def run(check: Callable[..., Findings], *arguments: Any, handlers: Any = None, **environ: str) -> list[Finding]:
        one = account(handlers, **environ)
        opened.append(one)
        with one.app.app_context():
            return list(check(one.settings, *arguments))

    yield run
    for one in opened:
        with one.app.app_context():
            db.engine.dispose()
            close(get_api().cache)
            if one.settings.has_api:
                get_api().client._http.close()
