"""An operator's browser in front of an account's console."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from tests.actors import Account

PASSWORD = "correct horse"
CHEAP_HASH = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1")  # a real one takes its time at every login
ORIGIN = {"Origin": "http://localhost"}
Open = Callable[..., "Operator"]


class Operator:
    """Somebody at the console of ``account``: what they see is text, what they press is a form."""

    def __init__(self, account: Account) -> None:
        self.account, self.app = account, account.app
        self.client = account.app.test_client()
        self.csrf = ""

    def log_in(self, password: str = PASSWORD, name: str = "小王", **form: str) -> TestResponse:
        given = {"operator": name, "password": password, **form}
        response = self.client.post("/console/login", data=given, headers=ORIGIN)
        if response.status_code == 302:
            page = self.client.get("/console/handlers").text
            found = re.search(r'name="csrf" value="(\w+)"', page)
            self.csrf = found[1] if found else ""
        return response

    @property
    def cookie(self) -> str:
        """The cookie of the session."""
        kept = self.client.get_cookie(f"wechat_console_{self.account.settings.appid}", path="/console/")
        return kept.value if kept else ""

    def get(self, path: str, status: int = 200) -> str:
        """Return the page at ``path``, below /console."""
        response = self.client.get(f"/console{path}")
        assert response.status_code == status, response.text
        return response.text

    def text(self, path: str) -> str:
        """Return what can be read on the page at ``path``, in one line."""
        return readable(self.get(path))

    def post(self, path: str, status: int = 302, **form: Any) -> TestResponse:
        response = self.client.post(f"/console{path}", data={"csrf": self.csrf, **form}, headers=ORIGIN)
        assert response.status_code == status, response.text
        return response


def readable(page: str) -> str:
    """Return a page's text in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture
def console(account: Callable[..., Account]) -> Open:
    """Return a function that opens an account's console and logs in: ``console(HANDLERS, WECHAT_…="…")``."""

    def open_console(handlers: Any = None, **environ: str) -> Operator:
        operator = Operator(account(handlers, WECHAT_ADMIN_PASSWORD=CHEAP_HASH, **environ))
        assert operator.log_in().status_code == 302
        return operator

    return open_console
