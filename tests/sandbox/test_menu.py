"""The account's menu on the phone, over HTTP: which one a fan sees, and what its buttons bring."""

import hashlib
import html
import re
from typing import Any

import pytest

from app.api import get_client
from app.callback import xml
from app.sandbox.login import OPENID
from tests.sandbox.conftest import PNG, Site
from tests.servers import ROOT, wait_for

CLICK = {"type": "click", "name": "今日", "key": "V1"}
PLACE = {"latitude": "23.129112", "longitude": "113.264385", "label": "府前路1号"}


def push(site: Site, *buttons: dict[str, Any], **matchrule: Any) -> str:
    """Make a menu of the buttons, a conditional one with a matchrule, and return its menuid."""
    with site.account.app.app_context():
        if not matchrule:
            get_client().menu.create({"button": buttons})
            return ""
        return str(get_client().menu.add_conditional({"button": buttons, "matchrule": matchrule})["menuid"])


def seen(page: str) -> list[str]:
    """Return the names on the buttons of a page."""
    names = re.findall(r"<(?:button class=\"pressed\"|summary)[^>]*>([^<]+)<", html.unescape(page))
    return [name for name in names if name != "More"]


def test_the_menu_that_was_pushed_is_on_the_phone(site: Site) -> None:
    assert "no menu was pushed" in site.get("/")
    push(
        site,
        CLICK,
        {"name": "更多", "sub_button": [{"type": "view", "name": "官网", "url": "https://example.com/home"}]},
    )
    assert seen(site.get("/")) == ["今日", "更多", "官网"]
    assert "/sandbox/open?fan=oFanInTheShell00000000000000&url=https://example.com/home" in html.unescape(site.get("/"))
    site.act("press", event="CLICK", key="V1")
    site.says("clicked")


def test_a_fan_sees_the_newest_conditional_menu_that_fits(site: Site) -> None:
    push(site, CLICK)
    rules: list[dict[str, Any]] = [{"tag_id": "100"}, {"client_platform_type": 2}, {"client_platform_type": "2"}]
    for number, rule in enumerate(rules):
        push(site, {**CLICK, "name": f"menu {number}"}, **rule)
    push(site, {**CLICK, "name": "both"}, tag_id="100", client_platform_type="1")
    fits = {("3", ""): "今日", ("3", "100"): "menu 0", ("2", "100"): "menu 2", ("1", "100"): "both", ("1", "9"): "今日"}
    for (platform, tag_id), name in fits.items():
        answered = site.post(f"/fans/{OPENID}/profile", client_platform_type=platform, tag_id=tag_id)
        assert seen(answered.text) == [name]
        assert seen(site.get("/")) == [name]
    with site.account.app.app_context():
        assert get_client().user.get(OPENID)["tagid_list"] == [9]


@pytest.mark.parametrize(("platform", "tag_id"), [("4", ""), ("", ""), ("1", "vip")])
def test_what_is_no_platform_or_no_tag_is_refused(site: Site, platform: str, tag_id: str) -> None:
    assert site.post(f"/fans/{OPENID}/profile", client_platform_type=platform, tag_id=tag_id).status_code == 400


def test_a_conditional_menu_says_which_it_is_when_a_page_opens(site: Site) -> None:
    push(site, CLICK)
    button = {"type": "miniprogram", "name": "小程序", "url": "https://example.com/", "appid": "wx1", "pagepath": "p/q"}
    menuid = push(site, button, client_platform_type="3")
    [values] = re.findall(r'hx-vals="([^"]+)"', site.get("/"))
    assert html.unescape(values) == f'{{"event": "view_miniprogram", "key": "p/q", "menuid": {menuid}}}'
    assert "url=https://example.com/" in html.unescape(site.get("/"))
    site.act("press", event="view_miniprogram", key="p/q", menuid=menuid)
    site.says(f"p/q of {menuid}")


def test_what_a_button_has_scanned_comes_with_its_event(site: Site) -> None:
    number = site.act(
        "press", event="scancode_waitmsg", key="K", scan_type="barcode", scan_result="EAN_13,6901481811083"
    )
    site.says("barcode EAN_13,6901481811083")
    assert shape(site.fields(number)) == shape(sample("scancode_waitmsg"))


def test_pictures_come_after_their_event(site: Site) -> None:
    files = [("file", ("a.png", PNG)), ("file", ("b.png", PNG + b"2"))]
    site.act("press", files=files, event="pic_weixin", key="K")
    sums = [hashlib.md5(content, usedforsecurity=False).hexdigest() for content in (PNG, PNG + b"2")]
    wait_for(lambda: " ".join(sums) in site.screen())
    wait_for(lambda: site.get(f"/fans/{OPENID}").count("<img ") == 4)  # two sent, and both sent back
    event, *pictures = site.sent()
    assert shape(event) == shape(sample("pic_weixin"))
    assert event["SendPicsInfo"]["Count"] == "2"
    assert [picture["MsgType"] for picture in pictures] == ["image", "image"]


def test_a_location_comes_after_its_event(site: Site) -> None:
    site.act("press", event="location_select", key="K", **PLACE)
    wait_for(lambda: {"府前路1号", "23.13 府前路1号"} <= set(site.screen()))
    event, location = site.sent()
    assert shape(event) == shape(sample("location_select"))
    assert (location["MsgType"], location["Location_X"]) == ("location", "23.129112")


@pytest.mark.parametrize(
    "form",
    [
        {"event": "scancode_push", "scan_type": "qrcode", "scan_result": " "},
        {"event": "scancode_push"},
        {"event": "pic_sysphoto"},
        {"event": "pic_sysphoto", "files": {"file": ("", b"")}},
        {"event": "location_select", "latitude": "north", "longitude": "1"},
        {},
    ],
    ids=str,
)
def test_a_button_without_what_it_asks_for_is_no_message(site: Site, form: dict[str, Any]) -> None:
    assert site.post(f"/fans/{OPENID}/press", key="K", **form).status_code == 400
    assert site.screen() == []


def test_material_comes_without_any_event(site: Site) -> None:
    with site.account.app.app_context():
        client = get_client()
        picture = client.media.upload("image", ("a.png", PNG))["media_id"]
        article = {"title": "一篇文章", "digest": "摘要", "content": "…", "content_source_url": "https://example.com/1"}
        draft = client.post("draft/add", data={"articles": [article]})["media_id"]
        published = client.post("freepublish/submit", data={"media_id": draft})["publish_id"]
        article_id = client.post("freepublish/get", data={"publish_id": published})["article_id"]
    for material_id in (picture, article_id, "of_the_real_account"):
        assert site.post(f"/fans/{OPENID}/material", id=material_id).status_code == 204
    site.says("Material of_the_real_account its content is not here")
    page = site.get(f"/fans/{OPENID}")
    assert f'<img src="/sandbox/media/{picture}"' in page
    assert "一篇文章 摘要" in site.screen()
    assert 'class="about"' not in page  # nothing was delivered


def test_a_button_with_material_asks_for_nothing_else(site: Site) -> None:
    push(
        site,
        {"type": "media_id", "name": "素材", "media_id": "M1"},
        {"type": "article_view_limited", "name": "文章", "article_id": "A1"},
    )
    values = [html.unescape(found) for found in re.findall(r'hx-vals="([^"]+)"', site.get("/"))]
    assert values == ['{"id": "M1"}', '{"id": "A1"}']


def sample(event: str) -> xml.Fields:
    return xml.read_strictly((ROOT / f"tests/samples/event_{event}.xml").read_bytes())


def shape(fields: Any) -> Any:
    """Return the names in a message, without what stands in them and how often."""
    if isinstance(fields, list):
        return shape(fields[0])
    return {name: shape(value) for name, value in fields.items()} if isinstance(fields, dict) else ""
