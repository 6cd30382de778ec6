"""Take the pictures of the documentation: each page, light and dark, in both languages, after a busy day.

Usage: python -m tests.browser.screenshots FOLDER
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from app.config import SANDBOX_APPID
from app.sandbox.login import OPENID
from tests.browser.conftest import Service, chromium, log_in, running, watched
from tests.console.busy import MENU, fill

_SIZE = {"width": 1180, "height": 820}
_NARROW = {"width": 390, "height": 820}
Show = Callable[[Page, Service], None]


def _phone(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/sandbox/")
    phone = page.locator(".phone").first
    expect(phone.locator("[data-seen]")).to_be_attached()
    cards = phone.locator(".card").count()
    for text in ("你好 😀", "天气 北京", "帮助"):
        phone.locator(".say textarea").fill(text)
        phone.locator(".say textarea").press("Enter")
        expect(phone.locator(".bubble.fan").last).to_contain_text(text)
    phone.locator(".more > summary").click()
    phone.locator("[name=scene]").fill("poster-7")
    phone.locator("[name=scene]").press("Enter")
    phone.locator(".more > summary").click()
    expect(phone.locator(".card")).to_have_count(cards + 1)
    phone.locator(".bubble.account", has_text="北京：晴").last.get_by_role("button").click()
    expect(page.locator("aside")).to_contain_text("outcome=replied")


def _console(path: str, then: str = "main h1") -> Show:
    def show(page: Page, service: Service) -> None:
        page.goto(f"{service.url}/console{path}")
        expect(page.locator(then).first).to_be_visible(timeout=60_000)

    return show


def _menu(page: Page, service: Service) -> None:
    _console("/menu")(page, service)
    page.locator("#preview summary").first.click()


PAGES: dict[str, Show] = {
    "phone": _phone,
    "overview": _console("/?span=day", "#quotas + div table"),
    "handlers": _console("/handlers"),
    "menu": _menu,
    "codes": _console("/codes"),
    "code": _console("/codes/502"),
    "sheet": _console("/codes/sheet?" + "&".join(f"id={number}" for number in range(491, 503))),
    "fans": _console("/fans"),
    "messages": _console(f"/messages?openid={OPENID}"),
    "doctor": _console("/doctor", "#lines table"),
}


LOOKS = {"light": ["login", *PAGES], "dark": ["login", *PAGES], "narrow": ["overview", "menu"]}
"""What is pictured in which look: a picture is LANGUAGE/NAME-LOOK.png."""
LOCALES = {"zh": "zh-CN", "en": "en-GB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    take(parser.parse_args().folder)


def take(folder: Path) -> None:
    """Write the pictures of LOOKS into ``folder``, in each language."""
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        fill(Path(name), SANDBOX_APPID, fans=200)
        with running(Path(name), {}) as service:
            (service.folder / "menu.json").write_text(json.dumps(MENU), encoding="utf-8")
            service.flask("wechat", "menu", "push", "--author", "小王", "--note", "会员日", "menu.json")
            for (language, locale), look in itertools.product(LOCALES.items(), LOOKS):
                (folder / language).mkdir(parents=True, exist_ok=True)
                size, scheme = _NARROW if look == "narrow" else _SIZE, "dark" if look == "dark" else "light"
                with watched(browser, locale=locale, color_scheme=scheme, viewport=size) as page:
                    for shown in LOOKS[look]:
                        _show(page, service, shown)
                        page.screenshot(path=folder / language / f"{shown}-{look}.png")


def _show(page: Page, service: Service, shown: str) -> None:
    if shown == "login":
        _console("/login")(page, service)
        return
    if not page.context.cookies():
        log_in(page, service)
    PAGES[shown](page, service)


if __name__ == "__main__":
    main()
