"""docs/security.md claims nothing that no test tries."""

import ast
import re

import pytest

from tests.servers import ROOT

PAGES = ["docs/security.md", "docs/security.zh-CN.md"]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def named(page: str) -> list[tuple[str, str]]:
    return _NAMED.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_each_test_that_the_page_names_is_there(page: str) -> None:
    missing = []
    for file, name in named(page):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        if name not in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}:
            missing.append(f"{file}::{name}")
    assert missing == []
    assert all(name.startswith("test_") for _, name in named(page))


def test_both_languages_name_the_same_tests_in_the_same_places() -> None:
    assert named(PAGES[0]) == named(PAGES[1])
