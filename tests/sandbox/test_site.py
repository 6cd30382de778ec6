"""The phone's pages, over HTTP against a service in this process: what a developer does, and what they are shown."""

import html
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.api import get_client, send
from app.errors import ApiError
from app.sandbox.login import OPENID
from tests.actors import MODULE, Account
from tests.sandbox.conftest import ARTICLE, PNG, Site, answer, hold
from tests.servers import ROOT, wait_for


def test_what_a_fan_says_and_is_answered_is_on_the_screen(site: Site) -> None:
    assert "Send" in site.get("/")
    site.act("text", text="你好 😀")
    site.says("你好 😀")
    assert site.screen() == ["你好 😀", "你好 😀"]


def test_every_kind_of_reply_is_shown(site: Site) -> None:
    for kind, sees in {
        "card": "七号海报 感谢扫码",
        "music": "♫ a song",
        "video": "a film",
        "picture": "",
        "voice": "",
    }.items():
        site.act("text", text=kind)
        site.says(sees)
    site.act("press", event="CLICK", key="V8")
    site.says(" ".join(["七号海报"] * 8))
    page = site.get(f"/fans/{OPENID}")
    assert 'src="/sandbox/media/m1"' in page
    assert '<audio controls preload="none" src="/sandbox/media/m2"' in page
    assert '<video controls preload="none" src="/sandbox/media/m3"' in page
    assert "example.com/7.png" not in page  # nothing comes from elsewhere


def test_a_message_says_what_happened_to_it(site: Site) -> None:
    number = site.act("text", text="hi")
    site.says("hi")
    page = html.unescape(site.get(f"/messages/{number}"))
    assert "'text'</code> → <code>answer</code>" in page
    assert f"tests/sandbox/conftest.py:{answer.__code__.co_firstlineno}" in page
    assert "<Content><![CDATA[hi]]></Content>" in page
    assert "msg_signature=" in page
    assert "<Encrypt>" in page
    [line] = re.findall(r"INFO wechat message type=text .*", page)
    assert "handler=answer" in line
    assert "outcome=replied" in line


def test_an_error_of_a_handler_is_among_the_lines_of_its_message_alone(site: Site) -> None:
    good, bad = site.act("text", text="hi"), site.act("text", text="fail")
    wait_for(lambda: "outcome=failed" in site.get(f"/messages/{bad}"))
    assert "RuntimeError: on purpose" in site.get(f"/messages/{bad}")
    assert "RuntimeError" not in site.get(f"/messages/{good}")


def test_a_message_that_no_row_takes_says_so(site: Site) -> None:
    number = site.act("link", title="a page", url="https://example.com/")
    wait_for(lambda: "outcome=unhandled" in site.get(f"/messages/{number}"))
    assert "no row of HANDLERS takes it" in site.get(f"/messages/{number}")


def test_a_message_can_be_sent_again_as_a_new_one(site: Site) -> None:
    number = site.act("text", text="hi")
    site.says("hi")
    again = int(site.post(f"/messages/{number}/again").headers["X-Message"])
    wait_for(lambda: site.screen() == ["hi"] * 4)
    ids = [
        re.findall(r"<MsgId>(\d+)</MsgId>", html.unescape(site.get(f"/messages/{one}")))[0] for one in (number, again)
    ]
    assert len(set(ids)) == 2


def test_the_test_that_can_be_copied_passes_and_fails_with_the_handler(site: Site, tmp_path: Path) -> None:
    number = site.act("text", text="天气 北京")
    site.says("天气 北京")
    [text] = re.findall(r'<pre id="as-test">(.*?)</pre>', site.get(f"/messages/{number}"), re.DOTALL)
    (tmp_path / "test_copied.py").write_text(html.unescape(text), encoding="utf-8")
    for more, passes in (("", True), ("!", False)):
        handlers = f"HANDLERS = {{'text': lambda message: message.content + {more!r}}}"
        (tmp_path / f"{MODULE}.py").write_text(handlers)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_copied.py"]
        env = {"PATH": "", "PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.returncode == 0) == passes, done.stdout + done.stderr


def test_who_follows_by_a_code_and_who_scans_it_later(site: Site) -> None:
    page = site.post("/fans", fan=OPENID).text
    [newcomer] = set(re.findall(r'data-openid="(oFan[0-9a-f]{24})"', page))
    assert "not following the account" in site.get(f"/fans/{newcomer}")
    site.act("follow", newcomer, scene="poster-7")
    site.says("welcome poster-7", newcomer)
    assert "not following" not in site.get(f"/fans/{newcomer}")
    site.act("scan", newcomer, scene="poster-8")
    site.says("scanned poster-8", newcomer)
    site.act("unfollow", newcomer)
    wait_for(lambda: "not following the account" in site.get(f"/fans/{newcomer}"))
    assert site.screen() == []  # another fan's phone


def test_who_does_not_follow_can_do_nothing_but_follow(site: Site) -> None:
    number = site.act("text", text="hi")
    site.says("hi")
    left = site.act("unfollow")
    wait_for(lambda: f"/messages/{left}" in site.get(f"/fans/{OPENID}"))
    wait_for(lambda: not [line for line in site.screen() if line.endswith(" …")], what="the answer to it")
    before = site.screen()
    refused = [
        site.post(f"/fans/{OPENID}/text", text="hi"),
        site.post(f"/fans/{OPENID}/scan", scene="poster-7"),
        site.post(f"/fans/{OPENID}/unfollow"),
        site.post(f"/fans/{OPENID}/material", id="M1"),
        site.post(f"/messages/{number}/again"),
    ]
    assert [(response.status_code, response.text) for response in refused] == [(409, "follow first")] * len(refused)
    assert site.screen() == before
    site.act("follow")
    site.says("welcome")


def test_what_a_fan_sends_as_a_file_comes_back(site: Site) -> None:
    number = site.act("image", files={"file": ("a.png", PNG)})
    wait_for(lambda: len(re.findall(r'<img src="([^"]+)"', site.get(f"/fans/{OPENID}"))) == 2)
    mine, its = re.findall(r'<img src="([^"]+)"', site.get(f"/fans/{OPENID}"))
    assert mine == its
    assert site.http.get(f"{site.url}{mine}", timeout=10).content == PNG
    assert f"<PicUrl><![CDATA[{site.url}{mine}]]>" in html.unescape(site.get(f"/messages/{number}"))


def test_a_location_is_sent_in_degrees(site: Site) -> None:
    number = site.act("location", latitude="39.9087", longitude="116.3975", label="天安门")
    site.says("39.91 天安门")
    assert "<Location_X>39.908700</Location_X><Location_Y>116.397500<" in html.unescape(site.get(f"/messages/{number}"))


def test_customer_service_messages_come_by_themselves(site: Site) -> None:
    site.act("text", text="hi")
    site.says("hi")
    with site.account.app.app_context():
        send(OPENID, "later")
        send(OPENID, [ARTICLE])
    site.says("七号海报 感谢扫码")
    assert site.screen() == ["hi", "hi", "later", "七号海报 感谢扫码"]


def test_a_screen_that_has_not_changed_is_not_sent_again(site: Site) -> None:
    site.act("text", text="hi")
    site.says("hi")
    [seen] = re.findall(r'data-seen="([^"]+)"', site.get(f"/fans/{OPENID}"))
    again = site.http.get(f"{site.url}/sandbox/fans/{OPENID}", params={"seen": seen}, timeout=10)
    assert (again.status_code, again.content) == (204, b"")


def test_while_the_handler_runs_the_fan_waits_and_sees_nothing(site: Site) -> None:
    site.act("text", text="slow")
    wait_for(lambda: "details …" in site.get(f"/fans/{OPENID}"))
    hold.set()
    site.says("at last")
    assert "details …" not in site.get(f"/fans/{OPENID}")


@pytest.mark.parametrize(("fault", "reason"), [("forged", "status 403"), ("late", "status 403")])
def test_what_the_callback_refuses_is_a_failure_for_the_fan(site: Site, fault: str, reason: str) -> None:
    number = site.act("text", text="hi", fault=fault)
    site.says("该公众号提供的服务出现故障，请稍后再试")
    page = site.get(f"/messages/{number}")
    assert page.count("<meter") == 3
    assert reason in page


def test_a_message_delivered_twice_at_once_is_answered_once(site: Site) -> None:
    number = site.act("text", text="hi", fault="twice")
    site.says("hi")
    wait_for(lambda: site.get(f"/messages/{number}").count("<meter") == 2)
    assert site.screen() == ["hi", "hi"]
    assert site.get(f"/messages/{number}").count("outcome=repeated") == 1


def test_faults_of_the_api_at_a_click(site: Site) -> None:
    site.act("text", text="hi")
    site.says("hi")
    with site.account.app.app_context():
        client = get_client()
        before = client.access_token
        assert site.post("/faults/expire-token").status_code == 204
        send(OPENID, "a new token was fetched")
        assert client.access_token != before
        site.post("/faults/close-window", openid=OPENID)
        with pytest.raises(ApiError, match="45015"):
            send(OPENID, "too late")
        site.post("/faults/cut-api")
        with pytest.raises(ApiError, match="ConnectionError"):
            get_client().get("menu/get")
        site.post("/faults/heal")


@pytest.mark.parametrize(
    "form", [{}, {"text": ""}, {"kind": "location", "latitude": "north", "longitude": "1"}, {"kind": "nothing"}]
)
def test_what_is_incomplete_is_refused(site: Site, form: dict[str, str]) -> None:
    kind = form.pop("kind", "text")
    response = site.post(f"/fans/{OPENID}/{kind}", **form)
    assert (response.status_code, response.text) == (400, "something is missing")


def test_another_site_in_the_same_browser_presses_no_button(site: Site) -> None:
    for origin in ("https://evil.example.com", "null", ""):
        site.http.headers["Origin"] = origin
        assert site.post(f"/fans/{OPENID}/text", text="hi").status_code == 403
    assert site.screen() == []


def test_who_is_not_on_this_machine_sees_no_phone(site: Site) -> None:
    client = site.account.client
    assert client.get("/sandbox/").status_code == 200
    assert client.get("/sandbox/", environ_base={"REMOTE_ADDR": "10.0.0.5"}).status_code == 403
    assert client.get("/sandbox/static/page.css", headers={"Host": "tunnel.example.com"}).status_code == 403


def test_without_the_sandbox_there_is_no_phone(account: Callable[..., Account]) -> None:
    assert account({"*": print}).client.get("/sandbox/").status_code == 404


def test_a_page_opens_as_the_fan_whose_phone_it_is(site: Site) -> None:
    page = f"{site.url}/sandbox/me"
    for openid in (OPENID, "oFanB"):
        opened = site.http.get(f"{site.url}/sandbox/open", params={"fan": openid, "url": page}, timeout=10)
        form = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', html.unescape(opened.text)))
        agreed = site.http.post(opened.url.partition("?")[0], data=form | {"choice": "allow"}, timeout=10)
        assert f"openid: {openid}\n" in agreed.text


def test_pages_speak_the_browsers_language(site: Site) -> None:
    for wanted, button in (("zh-CN,zh;q=0.9", ">发送<"), ("de,en;q=0.5", ">Send<"), ("", ">Send<")):
        site.http.headers["Accept-Language"] = wanted
        assert button in site.get("/")


def test_nothing_that_a_fan_writes_becomes_markup(site: Site) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`"
    number = site.act("text", text=evil)
    site.says(evil)
    for page in (site.get(f"/fans/{OPENID}"), site.get(f"/messages/{number}")):
        assert "<script>alert" not in page
        assert "<img src=x" not in page
