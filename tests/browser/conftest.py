"""A real browser on this machine, and the service as make run starts it."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.console.conftest import PASSWORD
from tests.servers import environment, free_port, program, uwsgi

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_BOT = """
import threading
from app.handlers import HANDLERS as SAMPLES

def late(message):
    threading.Event().wait(15)
    return "at last"

def cards(message):
    titles = ["标题很长的一张图文卡片" * 4, "短", "A long English title " * 4, "Donaudampfschifffahrt" * 3] * 2
    return [{"title": title, "description": "说明", "url": "https://example.com/"} for title in titles]

HANDLERS = {**SAMPLES, ("text", "late"): late, ("event", "click", "CARDS"): cards}
"""
EVIL = '<img src=x onerror=alert(1)><script>alert(2)</script>"><svg onload=alert(3)>'
EVIL_NAME, EVIL_TAG = EVIL[-23:], "666"


def menu(url: str) -> dict[str, Any]:
    """Return the account's menu: the default one, one for Android, and one that attacks the page."""
    below = [
        {"type": "view", "name": "我的资料", "url": f"{url}/sandbox/me"},
        {"type": "scancode_waitmsg", "name": "扫一扫", "key": "SCAN"},
        {"type": "pic_weixin", "name": "相册", "key": "PICTURES"},
        {"type": "location_select", "name": "位置", "key": "PLACE"},
        {"type": "media_id", "name": "素材", "media_id": "M1"},
    ]
    buttons = [
        {"type": "click", "name": "今天", "key": "V1001_TODAY"},
        {"type": "click", "name": "图文", "key": "CARDS"},
        {"name": "更多", "sub_button": below},
    ]
    android = {"button": [{"type": "click", "name": "安卓", "key": "V1001_TODAY"}]}
    evil = [
        {"type": "click", "name": EVIL_NAME, "key": EVIL},
        {"type": "scancode_push", "name": f"{EVIL_NAME}!", "key": EVIL},
        {"type": "view", "name": "view", "url": f"{url}/{EVIL}"},
    ]
    return {
        "button": buttons,
        "conditionalmenu": [
            {**android, "matchrule": {"client_platform_type": "2"}},
            {"button": [{"name": "<svg>", "sub_button": evil}], "matchrule": {"tag_id": EVIL_TAG}},
        ],
    }


class Service:
    """The service with WeChat played locally, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        sandbox = {"WECHAT_SANDBOX": "1", "WECHAT_API_BASE_URL": f"{self.url}/sandbox/api", "PORT": str(self.port)}
        self.env = environment(FLASK_APP="runserver:application", WECHAT_HANDLERS="bot", **sandbox)
        self.env |= {"PYTHONPATH": f"{self.env['PYTHONPATH']}:{folder}", "WECHAT_SECRET_KEY": "k" * 32}
        self.env |= {"WECHAT_ADMIN_PASSWORD": PASSWORD}
        (folder / "bot.py").write_text(_BOT, encoding="utf-8")
        (folder / "menu.json").write_text(json.dumps(menu(self.url)), encoding="utf-8")

    def flask(self, *arguments: str) -> str:
        command = [program("flask"), *arguments]
        return subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, check=True).stdout


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=_ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def running(folder: Path, replacements: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Run the service in ``folder``, with the database that is there or a new one."""
    service = Service(folder)
    service.flask("db", "upgrade")
    with uwsgi(folder, service.env, port=service.port, replacements=replacements):
        service.flask("wechat", "menu", "push", "menu.json")
        yield service


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


@contextmanager
def watched(browser: Browser, refused: tuple[int, ...] = (), **options: Any) -> Iterator[Page]:
    """A page of a new browser; at the end nothing was wrong in its console, and no request has left this machine.

    A browser says in its console that a page came with an error's status: those of ``refused`` are expected.
    """
    context = browser.new_context(**{"locale": "zh-CN", "viewport": {"width": 1200, "height": 900}, **options})
    wrong: list[str] = []
    context.on("console", lambda message: wrong.append(message.text) if _is_wrong(message, refused) else None)
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
    context.on("request", lambda request: None if _is_here(request.url) else wrong.append(f"went out: {request.url}"))
    context.set_default_timeout(10_000)
    yield context.new_page()
    context.close()
    assert wrong == []


def _is_wrong(message: ConsoleMessage, refused: tuple[int, ...]) -> bool:
    if any(re.search(rf"(with a status of|Status Error Code) {status}\b", message.text) for status in refused):
        return False
    # Browsers ask for a picture of every site, and pages of others have none.
    return message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico")


def _is_here(url: str) -> bool:
    return urlsplit(url).scheme in ("data", "blob") or urlsplit(url).hostname == "127.0.0.1"


def log_in(page: Page, service: Service, path: str = "/", name: str = "小王") -> None:
    """Come to the console's page ``path`` as an operator who has to log in first."""
    page.goto(f"{service.url}/console{path}")
    page.locator("[name=operator]").fill(name)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")
    expect(page.locator(".who")).to_contain_text(name)


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    with watched(browser) as page:
        yield page


def check_accessible(page: Page) -> None:
    """Let axe-core look at the page: nothing serious is wrong with it for who cannot see it, or has no mouse."""
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert serious == [], [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in serious]


expect.set_options(timeout=10_000)
