"""The snippets of docs/handlers.md, in both languages: the first is the bot, the others are run with it."""

import re
import sys
import types
from typing import Any

import pytest

from tests.servers import ROOT

PAGES = ["docs/handlers.md", "docs/handlers.zh-CN.md"]


def snippets(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found: list[str] = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture
def bot(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = types.ModuleType("mybot"), types.ModuleType("mybot.handlers")
    vars(package)["handlers"] = module
    monkeypatch.setitem(sys.modules, "mybot", package)
    monkeypatch.setitem(sys.modules, "mybot.handlers", module)
    exec(compile(snippets(request.param)[0], request.param, "exec"), vars(module))


@pytest.mark.parametrize(
    ("bot", "page", "number"), [(p, p, n) for p in PAGES for n in range(len(snippets(p)))], indirect=["bot"]
)
@pytest.mark.usefixtures("bot")
def test_every_snippet_runs(page: str, number: int) -> None:
    names: dict[str, Any] = {}
    exec(compile(snippets(page)[number], f"{page}, snippet {number + 1}", "exec"), names)
    for name in [name for name in names if name.startswith("test_")]:
        names[name]()


def test_both_languages_have_the_same_snippets_but_for_their_words() -> None:
    shapes = [[re.sub(r'"[^"\n]*"|#.*|\s', "", one) for one in snippets(page)] for page in PAGES]
    assert shapes[0] == shapes[1]
    assert sum("def test_" in one for one in snippets(PAGES[0])) >= 4
