"""The password of the console, as a line for the settings."""

import re
from collections.abc import Callable

import pytest
from werkzeug.security import check_password_hash

from app.config import Settings
from tests.actors import Account

PASSWORD = "correct horse"


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [((), f"{PASSWORD}\n{PASSWORD}\n"), (("--password", PASSWORD), None)],
    ids=["asked", "given"],
)
def test_a_password_becomes_a_line_for_the_settings(
    account: Callable[..., Account], settings: Callable[..., Settings], arguments: tuple[str, ...], typed: str | None
) -> None:
    result = account().app.test_cli_runner().invoke(args=["wechat", "password", *arguments], input=typed)
    found = re.search(r"^WECHAT_ADMIN_PASSWORD=(\S+)$", result.output, re.MULTILINE)
    assert found is not None
    assert PASSWORD not in result.output
    kept = settings(WECHAT_ADMIN_PASSWORD=found[1]).admin_password
    assert kept == found[1]
    assert check_password_hash(kept, PASSWORD)


def test_a_short_one_is_refused(account: Callable[..., Account]) -> None:
    result = account().app.test_cli_runner().invoke(args=["wechat", "password", "--password", "seven77"])
    assert (result.exit_code, "expected 8 to 200 characters" in result.output) == (1, True)
