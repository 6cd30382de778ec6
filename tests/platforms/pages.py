"""The blocks of code on a page, by the name in front of them."""

import re

from tests.servers import ROOT

_FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|\s)# .*$", re.MULTILINE)


def block(page: str, name: str) -> str:
    """Return the block below the line that begins with ``name``; raises ValueError where there is none."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(name)}[^\n]*\n\n```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"{page} has no block after {name!r}")
    return found[1]


def codes(page: str) -> list[str]:
    """Return every block of the page, without comments."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [_COMMENT.sub("", code) for code in _FENCED.findall(text)]
