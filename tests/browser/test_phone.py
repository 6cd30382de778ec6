"""The phone in a real browser: what a developer without an account does in the first minutes, and after."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.browser.conftest import EVIL, EVIL_NAME, EVIL_TAG, Service, check_accessible, watched

PICTURE = FilePayload(name="a.svg", mimeType="image/svg+xml", buffer=b"<svg xmlns='http://www.w3.org/2000/svg'/>")


class Phone:
    """One fan's phone on the page."""

    def __init__(self, page: Page, number: int = 0) -> None:
        self.page, self.at = page, page.locator(".phone").nth(number)

    @property
    def last(self) -> Locator:
        """The last thing that the account said."""
        return self.at.locator(".bubble.account").last

    def say(self, text: str) -> None:
        box = self.at.get_by_label("说点什么")
        box.fill(text)
        box.press("Enter")
        expect(box).to_have_value("")

    def press(self, name: str) -> None:
        self.at.get_by_role("button", name=name, exact=True).click()

    def follow(self) -> None:
        """Follow, and wait for the welcome."""
        self.more()
        self.press("关注")
        expect(self.last).to_contain_text("欢迎关注！")
        self.more()

    def more(self) -> None:
        self.at.locator(".more > summary").click()

    def open(self, *names: str) -> None:
        """Open a part of the menu: what is below a button, or the form of one that asks for something."""
        for name in names:
            self.at.locator(".menu summary").filter(has_text=re.compile(f"^{re.escape(name)}$")).click()

    def event(self, text: str) -> None:
        """Wait for an event's line at the end of the conversation, and look at the message."""
        line = self.at.locator(".line").last
        expect(line).to_contain_text(text)
        line.get_by_role("button").click()


@pytest.fixture
def phone(page: Page, service: Service) -> Phone:
    """The phone of a fan who has just followed, and is alone on the page."""
    page.goto(f"{service.url}/sandbox/")
    page.get_by_role("button", name="再加一个用户").click()
    page.get_by_role("navigation", name="用户").get_by_role("link").last.click()
    expect(page.locator(".phone")).to_have_count(1)
    expect(page.locator(".phone .say")).to_have_attribute("inert", "")
    phone = Phone(page)
    phone.follow()
    return phone


def test_the_first_minutes(phone: Phone, service: Service) -> None:
    phone.say("天气 北京")
    expect(phone.last).to_contain_text("北京：晴，25 度")
    phone.press("今天")
    expect(phone.last).to_contain_text("今天是 ")
    phone.more()
    phone.at.get_by_label("扫码，场景值").fill("poster-7")
    phone.press("已关注者扫码")
    expect(phone.last.locator(".card")).to_have_text(re.compile("七号海报"))
    phone.press("图文")
    expect(phone.last.locator(".card")).to_have_count(8)
    assert phone.last.evaluate("card => card.scrollHeight <= card.clientHeight && card.scrollWidth <= card.clientWidth")
    phone.open("更多")
    with phone.page.context.expect_page() as opened:
        phone.press("我的资料")
    opened.value.get_by_role("button", name="允许 / Allow").click()
    expect(opened.value.locator("body")).to_contain_text("openid: oFan")
    check_accessible(phone.page)


def test_a_late_answer_comes_by_itself_and_in_order(phone: Phone) -> None:
    phone.say("late")
    phone.say("quick")
    expect(phone.last).to_contain_text("quick")
    expect(phone.last).to_contain_text("at last", timeout=25_000)  # past the last delivery
    texts = phone.at.locator(".bubble p").all_inner_texts()
    assert texts[1:] == ["late", "quick", "quick", "at last"]


def test_a_customer_service_message_comes_by_itself_and_in_order(phone: Phone, service: Service) -> None:
    phone.say("first")
    expect(phone.last).to_contain_text("first")
    service.flask("wechat", "message", phone.at.get_attribute("data-openid") or "", "second")
    expect(phone.last).to_contain_text("second")
    phone.say("third")
    expect(phone.last).to_contain_text("third")
    assert phone.at.locator(".bubble p").all_inner_texts()[1:] == ["first", "first", "second", "third", "third"]


def test_a_button_asks_for_what_it_sends(phone: Phone) -> None:
    phone.open("更多", "扫一扫")
    check_accessible(phone.page)
    phone.at.locator(".menu").get_by_label("扫到的内容").fill("https://example.com/7")
    phone.at.locator(".menu").get_by_label("扫到的内容").press("Enter")
    phone.event("scancode_waitmsg · SCAN")
    expect(phone.page.locator("aside")).to_contain_text("<ScanResult><![CDATA[https://example.com/7]]>")
    expect(phone.at.locator(".menu form:visible")).to_have_count(0)
    phone.open("更多", "相册")
    phone.at.locator(".menu input[type=file]").set_input_files([PICTURE, PICTURE])
    phone.at.locator(".menu form:visible").get_by_role("button", name="发送").click()
    expect(phone.at.locator(".bubble.fan img")).to_have_count(2)
    phone.open("更多", "位置")
    phone.at.locator(".menu form:visible").get_by_role("button", name="发送").click()
    expect(phone.at.locator(".bubble.fan.location")).to_contain_text("天安门")
    phone.event("location_select · PLACE")
    expect(phone.page.locator("aside")).to_contain_text("<SendLocationInfo>")


def test_material_of_the_menu_comes_without_a_message(phone: Phone) -> None:
    phone.open("更多")
    phone.press("素材")
    expect(phone.last).to_contain_text("素材 M1")
    expect(phone.at.get_by_role("button", name="详情")).to_have_count(1)  # the welcome's


def test_a_fan_of_another_platform_sees_another_menu(phone: Phone) -> None:
    phone.more()
    phone.at.get_by_label("手机系统").select_option("Android")
    phone.press("按此显示菜单")
    phone.press("安卓")
    expect(phone.last).to_contain_text("今天是 ")
    phone.page.reload()
    expect(phone.at.locator(".menu button")).to_have_text(["安卓"])


def test_two_fans_have_a_phone_each(phone: Phone) -> None:
    phone.page.get_by_role("button", name="再加一个用户").click()
    one, two = Phone(phone.page, 0), Phone(phone.page, 1)
    expect(two.at).to_contain_text("未关注该公众号")
    two.follow()
    one.say("from the first")
    two.say("from the second")
    expect(one.last).to_contain_text("from the first")
    expect(two.last).to_contain_text("from the second")
    expect(one.at.locator(".bubble")).to_have_count(3)


def test_what_happened_to_a_message_stands_beside_it(phone: Phone) -> None:
    phone.say("天气 上海")
    expect(phone.last).to_contain_text("上海")
    phone.last.get_by_role("button", name="详情").click()
    beside = phone.page.locator("aside")
    expect(beside).to_contain_text("weather")
    expect(beside).to_contain_text("samples.py:")
    expect(beside).to_contain_text("outcome=replied")
    phone.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    beside.get_by_role("button", name="复制为测试").click()
    assert "def test_text_天气_上海" in phone.page.evaluate("navigator.clipboard.readText()")
    beside.get_by_role("button", name="再发一次").click()
    expect(phone.at.locator(".bubble.account")).to_have_count(3)
    check_accessible(phone.page)


def test_what_wechat_would_not_take_is_a_failure_on_the_phone(phone: Phone) -> None:
    phone.at.get_by_label("推送方式").select_option("forged")
    phone.say("hi")
    expect(phone.at.locator(".failure")).to_contain_text("该公众号提供的服务出现故障")


def test_what_a_fan_writes_stays_text(phone: Phone) -> None:
    phone.say(EVIL)
    expect(phone.last).to_contain_text(EVIL)
    phone.last.get_by_role("button", name="详情").click()
    expect(phone.page.locator("aside")).to_contain_text("alert(2)")
    nothing_came_alive(phone.page)


def test_names_and_keys_of_a_menu_stay_text(phone: Phone) -> None:
    phone.more()
    phone.at.get_by_label("标签 ID").fill(EVIL_TAG)
    phone.press("按此显示菜单")
    phone.open("<svg>")
    phone.press(EVIL_NAME)
    phone.event(f"click · {EVIL}")
    phone.open("<svg>", f"{EVIL_NAME}!")
    phone.at.locator(".menu").get_by_label("扫到的内容").fill(EVIL)
    phone.at.locator(".menu").get_by_label("扫到的内容").press("Enter")
    phone.event(f"scancode_push · {EVIL}")
    expect(phone.page.locator("aside")).to_contain_text(f"<ScanResult><![CDATA[{EVIL}]]>")
    nothing_came_alive(phone.page)


def test_scenes_stay_text(phone: Phone, service: Service) -> None:
    scene = EVIL[:28] + EVIL_NAME
    service.flask("wechat", "qrcode", "create", scene)
    phone.page.reload()
    assert scene in phone.at.locator("datalist option").evaluate_all("options => options.map(one => one.value)")
    phone.more()
    phone.at.get_by_label("扫码，场景值").fill(scene)
    phone.press("扫码关注")
    phone.event(f"subscribe · qrscene_{scene}")
    expect(phone.page.locator("aside")).to_contain_text(f"<EventKey><![CDATA[qrscene_{scene}]]>")
    nothing_came_alive(phone.page)


def test_who_logs_in_stays_text(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/sandbox/open?{urlencode({'fan': EVIL, 'url': f'{service.url}/sandbox/me'})}")
    expect(page.locator("body")).to_contain_text(EVIL)
    nothing_came_alive(page)
    page.get_by_role("button", name="允许 / Allow").click()
    expect(page.locator("body")).to_contain_text(f"openid: {EVIL}")
    expect(page.locator("body")).to_contain_text(f"nickname: 用户 {EVIL[-4:]}")
    nothing_came_alive(page)


def nothing_came_alive(page: Page) -> None:
    assert page.locator("img, svg, script:not([src])").count() == 0


def test_what_is_refused_is_said_until_the_next_request_of_a_person(browser: Browser, service: Service) -> None:
    with watched(browser, refused=(409, 503)) as page:
        page.goto(f"{service.url}/sandbox/")
        page.get_by_role("button", name="再加一个用户").click()
        phone, notice = Phone(page, 1), page.get_by_role("alert")
        phone.more()
        phone.at.get_by_label("扫码，场景值").fill("poster-7")
        phone.press("已关注者扫码")
        expect(notice).to_have_text("请先关注")
        check_accessible(page)
        with page.expect_response(re.compile("/sandbox/fans/")):
            pass  # it outlives what the page asks by itself
        expect(notice).to_have_text("请先关注")
        phone.press("扫码关注")
        expect(notice).to_have_text("")
        page.route("**/sandbox/fans/*", lambda route: route.fulfill(status=503))
        expect(notice).to_have_text("请求失败，状态码 503")
        page.unroute("**/sandbox/fans/*")
        expect(notice).to_have_text("")


@pytest.mark.parametrize(
    "options", [{"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}, {"locale": "en-GB"}], ids=str
)
def test_it_is_fine_in_the_dark_on_a_phone_and_in_english(
    browser: Browser, service: Service, options: dict[str, Any]
) -> None:
    with watched(browser, **options) as page:
        page.goto(f"{service.url}/sandbox/")
        page.get_by_role("textbox").first.fill("天气 北京")
        page.get_by_role("button", name=re.compile("^(发送|Send)$")).first.click()
        expect(page.locator(".bubble.account").last).to_contain_text("北京")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check_accessible(page)
