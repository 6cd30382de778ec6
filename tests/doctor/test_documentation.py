"""Every line that the doctor can print is in its page, in both languages."""

import re

import pytest

from app.doctor.account import _CAPABILITIES, _COUNTED
from tests.servers import ROOT

SAYS = re.compile(r"\b(?:ok|warning|wrong)\(\s*\"([^\"]+)\"")


def names() -> set[str]:
    found = {name for path in (ROOT / "app" / "doctor").glob("*.py") for name in SAYS.findall(path.read_text())}
    return found | set(_CAPABILITIES.values()) | set(_COUNTED.values())


@pytest.mark.parametrize("page", ["doctor.md", "doctor.zh-CN.md"])
def test_every_line_is_explained(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    explained = {name.strip() for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for name in row.split(",")}
    assert len(names()) > 30
    assert names() <= explained
