"""What a browser sends of the menu's editor."""

import re
from html.parser import HTMLParser
from typing import Any

from tests.console.conftest import Operator, readable


class _Draft(HTMLParser):
    """Reads the inputs of the form with the id draft."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.buttons: set[str] = set()
        self.focus, self._select, self._is_inside = "", "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given: dict[str, Any] = dict(attrs)
        self._is_inside |= tag == "form" and given.get("id") == "draft"
        if not self._is_inside:
            return
        if tag == "input" and given.get("name"):
            assert given["name"] not in self.fields
            self.fields[given["name"]] = given.get("value") or ""
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option" and (self._select not in self.fields or "selected" in given):
            self.fields[self._select] = given.get("value", "")
        elif tag == "button" and "disabled" not in given:
            self.buttons.add(given.get("value", ""))
        if "autofocus" in given:
            self.focus = given.get("id") or given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._is_inside &= tag != "form"


class Editor:
    """The editor as an operator without JavaScript uses it: each step is a page, and sends what the page holds."""

    def __init__(self, operator: Operator, path: str = "/menu") -> None:
        self.operator = operator
        self.open(operator.get(path))

    def open(self, page: str) -> None:
        self.page, found = page, _Draft(page)
        self.fields, self.buttons, self.focus = found.fields, found.buttons, found.focus

    def fill(self, fields: dict[str, str]) -> None:
        """Type into inputs that are there, and choose of selects."""
        assert fields.keys() <= self.fields.keys(), fields.keys() - self.fields.keys()
        self.fields |= fields

    def press(self, do: str) -> None:
        assert do in self.buttons, do
        self.open(self.send("/menu/draft", 200, do=do))

    def check(self) -> str:
        """Return what the page is told while somebody types."""
        return self.send("/menu/draft", 200, do="check")

    def push(self, status: int, **more: str) -> str:
        page = self.send("/menu/push", status, **more)
        if status != 303:
            self.open(page)
        return page

    def send(self, path: str, status: int, **more: str) -> str:
        response = self.operator.post(path, status, **{**self.fields, **more})
        return response.headers.get("Location", "") or response.text

    def says(self, name: str) -> str:
        """Return what is said at the input with this name."""
        return said(self.page, name)


def said(page: str, name: str) -> str:
    """Return what ``page`` says at the input, or group of inputs, with this name."""
    found = re.search(rf'id="{name}-says"[^>]*>((?:<span[^>]*>[^<]*</span>)*)</span>', page)
    assert found, name
    return readable(found[1])
