"""The console in a real browser: what an operator does there, with what there is after a busy day."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from app.config import SANDBOX_APPID
from app.sandbox.messages import link_message
from app.sandbox.phone import Phone
from tests.browser.conftest import EVIL, Service, check_accessible, log_in, running, watched
from tests.console.busy import fill
from tests.servers import TOKEN

PAGES = [
    "/", "/?span=day", "/handlers", "/menu", "/menu?revision=7", "/codes", "/codes?page=20", "/codes/500",
    "/codes/sheet?id=1&id=500&id=501", "/fans", "/fans?openid=oFan000000000000000000000001", "/fans?openid=oEvil",
    "/messages", "/messages?openid=oFan000000000000000000000001", "/doctor",
]  # fmt: skip
LOOKS = [
    {"color_scheme": "light"},
    {"color_scheme": "dark"},
    {"viewport": {"width": 360, "height": 740}, "locale": "en-GB"},
]
_EVIL_ROWS = (
    ("INSERT INTO fan (appid, openid, nickname, unionid, headimgurl, first_login_at, last_login_at)"
     " VALUES (?, 'oEvil', ?, ?, ?, 1, 9999999999)", 3),
    ("INSERT INTO qr_code (appid, kind, scene, url, ticket, expire_seconds, created_at, ends_at, claimed_at)"
     " VALUES (?, 'str', ?, ?, 't', 0, 1, 0, 0)", 2),
    ("UPDATE menu_revision SET author = ?, note = ?, appid = ? WHERE number = 29", 2),
)  # fmt: skip


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    fill(folder, SANDBOX_APPID, fans=120)
    with sqlite3.connect(folder / "instance" / "wechat.db") as database:
        for statement, texts in _EVIL_ROWS:
            evil = [EVIL[:64]] * texts
            database.execute(
                statement, [SANDBOX_APPID, *evil] if statement.startswith("INSERT") else [*evil, SANDBOX_APPID]
            )
    with running(folder) as service:
        yield service


@pytest.fixture
def console(page: Page, service: Service) -> Page:
    log_in(page, service)
    return page


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_every_page_is_whole_can_be_used_by_everybody_and_runs_nothing_of_a_fans(
    browser: Browser, service: Service, look: dict[str, Any]
) -> None:
    with watched(browser, **look) as page:
        log_in(page, service)
        for path in PAGES:
            page.goto(f"{service.url}/console{path}")
            if path == "/doctor":
                expect(page.locator("#lines table")).to_be_visible(timeout=30_000)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert page.locator("img[src='x'], svg[onload], main script").count() == 0, path
            check_accessible(page)


def test_what_comes_is_counted_while_somebody_looks(console: Page, service: Service) -> None:
    openid = "oFanOfTheConsole000000000000"
    legend = console.locator("figure", has_text="消息（按类型）").locator(".legend")
    expect(legend).not_to_contain_text("link")
    with Phone(f"{service.url}/wechat", TOKEN, openid) as phone:
        phone.deliver(link_message(openid, "a page", "", "https://example.com/"))
    expect(legend).to_contain_text("link 1", timeout=20_000)


def test_a_menu_is_refused_mended_pushed_seen_on_the_phone_and_rolled_back(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path) as service, watched(browser, refused=(401,)) as page:
        log_in(page, service, "/menu")
        page.locator("summary", has_text="载入微信上的菜单").click()
        page.get_by_role("button", name="载入", exact=True).click()
        expect(page.get_by_role("status")).to_contain_text("编辑器里是微信上的菜单")
        page.locator("#menu-0-1-name").fill("今天有什么好吃的东西")
        expect(page.locator("#menu-0-1-name-says")).to_contain_text("太长：最多 16 字节")
        page.get_by_label("备注（为什么改）").fill("改名")
        page.get_by_role("button", name="发布到微信").click()
        expect(page.get_by_role("alert").first).to_contain_text("没有发布，先改这里")
        check_accessible(page)
        page.locator("#menu-0-1-name").fill("好吃的")
        page.context.clear_cookies()  # the session ends
        page.get_by_role("button", name="发布到微信").click()
        expect(page.locator("#notice")).to_contain_text("请先在另一个窗口用同样的姓名重新登录")
        log_in(other := page.context.new_page(), service)
        other.close()
        expect(page.locator("#preview")).to_contain_text("好吃的")
        page.get_by_role("button", name="发布到微信").click()
        expect(page.get_by_role("status")).to_contain_text("已发布版本 2")
        row = page.locator("#history tr", has_text="改名")
        expect(row).to_contain_text("小王")
        page.goto(f"{service.url}/sandbox/")
        expect(page.locator(".menu").first).to_contain_text("好吃的")
        page.goto(f"{service.url}/console/menu")
        older = page.locator("#history tr").nth(2)
        older.locator("summary").click()
        older.get_by_role("button", name="回滚").click()
        expect(page.get_by_role("status")).to_contain_text("已发布版本 3")
        page.goto(f"{service.url}/sandbox/")
        expect(page.locator(".menu").first).to_contain_text("今天")
        expect(page.locator(".menu").first).not_to_contain_text("好吃的")


def test_a_page_can_be_reached_and_used_with_the_keyboard_alone(console: Page) -> None:
    console.keyboard.press("Tab")
    expect(console.get_by_role("link", name="跳到正文")).to_be_focused()
    console.keyboard.press("Enter")
    expect(console.locator("main")).to_be_focused()
    console.keyboard.press("Tab")
    expect(console.get_by_role("link", name="最近一小时")).to_be_focused()
    console.keyboard.press("Tab")
    console.keyboard.press("Enter")
    expect(console.get_by_role("link", name="最近一天")).to_have_attribute("aria-current", "page")


def test_after_five_wrong_passwords_the_right_one_must_wait(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path) as service, watched(browser, refused=(403, 429)) as page:
        page.goto(f"{service.url}/console/fans")
        for _ in range(5):
            page.locator("[name=operator]").fill("小王")
            page.locator("[name=password]").fill("wrong horse")
            page.locator("[name=password]").press("Enter")
            expect(page.get_by_role("alert")).to_have_text("密码不对")
        page.locator("[name=password]").fill("correct horse")
        page.locator("[name=password]").press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("失败次数过多")
        check_accessible(page)
