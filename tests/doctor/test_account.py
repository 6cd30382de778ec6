"""The doctor on WeChat's API, played locally: a good account, and every way in which it is not."""

from ipaddress import ip_network
from typing import Any

import pytest

from app.api import get_client
from app.api.callers import Network
from app.config import Settings
from app.doctor.account import check_account
from app.doctor.reach import check_clock
from tests.doctor.conftest import Look, said
from tests.servers import free_port
from tests.wechat_server import APPSECRET, WeChatServer

TOKEN_PATH = "/cgi-bin/stable_token"
EVERYBODY: list[Network] | None = None


def test_a_good_account_is_ok_in_every_line(look: Look, server: WeChatServer) -> None:
    findings = look(check_account, EVERYBODY, **server.settings)
    assert {finding.status for finding in findings} == {"ok"}
    names = ["access token", "menus", "customer service", "fans and tags", "media and drafts", "JS-SDK", "quota"]
    assert [finding.name for finding in findings] == [*names, "addresses", "callers"]
    assert "pushes from 5 addresses" in said(findings, "addresses")[0][1]


def test_without_an_appsecret_nothing_is_asked(look: Look) -> None:
    assert [(finding.name, finding.status) for finding in look(check_account, EVERYBODY)] == [("API", "ok")]


@pytest.mark.parametrize(
    ("errcode", "errmsg", "says"),
    [
        (40164, "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist", "put 203.0.113.7 on the IP white"),
        (40125, "invalid appsecret", "compare WECHAT_APPSECRET"),
        (40013, "invalid appid", "compare WECHAT_APPSECRET"),
        (40243, "frozen", "thaw the AppSecret"),
        (50002, "user limited", "compare WECHAT_APPID"),
    ],
)
def test_no_token_is_wrong_and_says_what_to_do(
    errcode: int, errmsg: str, says: str, look: Look, server: WeChatServer
) -> None:
    fault = {"path": TOKEN_PATH, "kind": "errcode", "errcode": errcode, "errmsg": errmsg, "seconds": 0, "left": None}
    server.wechat.set(faults=[fault])
    [finding] = look(check_account, EVERYBODY, **server.settings)
    assert (finding.name, finding.status) == ("API", "wrong")
    assert says in finding.todo
    assert str(errcode) in finding.found


def test_an_api_that_cannot_be_reached_is_one_line(look: Look) -> None:
    settings = {"WECHAT_APPID": f"wx{'1' * 16}", "WECHAT_APPSECRET": APPSECRET}
    found = look(check_account, EVERYBODY, **settings, WECHAT_API_BASE_URL=f"http://127.0.0.1:{free_port()}")
    assert [(finding.name, finding.status) for finding in found] == [("API", "wrong")]
    assert "let this machine reach" in found[0].todo
    assert APPSECRET not in str(found)


def test_an_api_that_answers_with_html_is_one_line(look: Look, server: WeChatServer) -> None:
    server.wechat.fail("/cgi-bin/tags/get", "html")
    findings = look(check_account, EVERYBODY, **server.settings)
    assert [finding.name for finding in findings] == ["access token", "menus", "customer service", "API"]
    assert findings[-1].status == "wrong"


def test_a_call_that_the_account_may_not_make_is_a_warning(look: Look, server: WeChatServer) -> None:
    server.wechat.fail("/cgi-bin/customservice/getkflist", errcode=48001)
    server.wechat.fail("/cgi-bin/tags/get", errcode=45011)
    findings = look(check_account, EVERYBODY, **server.settings)
    assert said(findings, "customer service")[0][0] == "warning"
    assert "接口权限" in said(findings, "customer service")[0][1]
    assert said(findings, "fans and tags")[0][0] == "warning"
    assert "45011" in said(findings, "fans and tags")[0][1]
    assert said(findings, "menus")[0][0] == "ok"


def test_late_answers_that_the_account_may_not_send_are_wrong(look: Look, server: WeChatServer) -> None:
    server.wechat.fail("/cgi-bin/customservice/getkflist", errcode=48001)
    findings = look(check_account, EVERYBODY, **server.settings, WECHAT_LATE_REPLY="customer_service")
    assert said(findings, "customer service")[0][0] == "wrong"


def test_a_quota_of_which_most_is_used_is_a_warning(look: Look, server: WeChatServer) -> None:
    server.wechat.set(limits={"/cgi-bin/qrcode/create": 1000, "/cgi-bin/menu/create": 0})
    today = look(check_account, EVERYBODY, **server.settings)
    assert "QR codes 0 of 1000" in said(today, "quota")[0][1]
    with server.wechat.state.changed() as kept:
        kept["used"][1]["/cgi-bin/qrcode/create"] = 801
    findings = look(check_account, EVERYBODY, **server.settings)
    assert said(findings, "quota")[0][0] == "warning"
    assert "801 of 1000" in said(findings, "quota")[0][1]


def test_a_quota_that_is_not_told_is_a_warning(look: Look, server: WeChatServer) -> None:
    server.wechat.fail("/cgi-bin/openapi/quota/get", errcode=76022)
    findings = look(check_account, EVERYBODY, **server.settings)
    assert said(findings, "QR codes")[0][0] == "warning"
    assert said(findings, "quota") == []
    assert said(findings, "callers")[0][0] == "ok"


def test_an_allow_list_without_some_of_wechats_addresses_is_wrong(look: Look, server: WeChatServer) -> None:
    wide = [ip_network("101.226.0.0/16"), ip_network("0.0.0.0/0"), ip_network("2402:4e00::/32")]
    assert said(look(check_account, wide, **server.settings), "callers")[0][0] == "ok"
    [(status, text)] = said(look(check_account, wide[:1], **server.settings), "callers")
    assert status == "wrong"
    assert "refuses 3 of WeChat's addresses: 140.207.54.73, 183.3.234.152, 2402:4e00:20::/48" in text


def test_the_clock_is_compared_with_wechats(look: Look, server: WeChatServer) -> None:
    [finding] = look(check_clock, "", **server.settings)
    assert (finding.name, finding.status) == ("clock", "ok")
    nowhere = f"http://127.0.0.1:{free_port()}"
    [finding] = look(check_clock, server.url, WECHAT_API_BASE_URL=nowhere)  # the callback's, where there is no API
    assert finding.status == "ok"
    [finding] = look(check_clock, "", WECHAT_API_BASE_URL=nowhere)
    assert finding.status == "warning"


def test_the_sandbox_shows_the_menu_as_wechat_does(look: Look, server: WeChatServer) -> None:
    below = [{"type": "view", "name": "b", "url": "https://example.com/"}]
    server.wechat.set(menu={"button": [{"name": "a", "sub_button": below}]})

    def menu(settings: Settings) -> list[Any]:
        return [get_client().get("get_current_selfmenu_info")]

    shown: Any = look(menu, **server.settings)[0]
    assert shown["is_menu_open"] == 1
    assert shown["selfmenu_info"] == {"button": [{"name": "a", "sub_button": {"list": below}}]}
