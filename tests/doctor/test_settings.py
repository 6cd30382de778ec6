"""The doctor on the settings, the keys, the handler table and the menu."""

import json
from typing import Any

import pytest

from app.config import Settings
from app.doctor.finding import Findings
from app.doctor.settings import check_settings, check_table, explain
from app.errors import ConfigError
from app.store.menus import begin_push, end_push
from app.table.dispatch import Table
from tests.conftest import SEALED
from tests.doctor.conftest import Look, said
from tests.servers import AES_KEY, TOKEN
from tests.wechat_server import APPSECRET

LONG_TOKEN = "k" * 32
SAFE = {"WECHAT_TOKEN": LONG_TOKEN, **SEALED, "WECHAT_ENCRYPT_MODE": "safe", "WECHAT_APPSECRET": APPSECRET}
TABLE = {"*": print}
MENU = {"button": [{"type": "click", "name": "今日", "key": "V1001_TODAY"}]}


@pytest.mark.parametrize(
    ("changed", "name", "says"),
    [
        ({"WECHAT_TOKEN": TOKEN}, "token", "14 characters"),
        ({"WECHAT_TOKEN_PREVIOUS": "another1"}, "previous token", "remove WECHAT_TOKEN_PREVIOUS"),
        ({"WECHAT_ENCRYPT_MODE": "compatible"}, "encryption", "compatible mode"),
        ({"WECHAT_ENCRYPT_MODE": "normal", "WECHAT_ENCODING_AES_KEY": ""}, "encryption", "normal mode"),
        ({"WECHAT_ENCRYPT_MODE": "normal"}, "encryption", "does not use it"),
        ({"WECHAT_ENCODING_AES_KEY_PREVIOUS": AES_KEY[::-1]}, "previous key", "remove WECHAT_ENCODING_AES_KEY_PREV"),
        ({"WECHAT_APPSECRET": ""}, "appsecret", "no menus"),
        ({"WECHAT_PUBLIC_URL": "http://wx.example.com"}, "public address", "over https"),
        ({"WECHAT_PUBLIC_URL": "https://wx.example.com:8443"}, "public address", "the port 8443"),
        ({"WECHAT_PUBLIC_URL": "https://wx.example.com:80"}, "public address", "the port 80"),
        ({"WECHAT_PUBLIC_URL": "https://203.0.113.5"}, "public address", "the address 203.0.113.5"),
        ({"WECHAT_PUBLIC_URL": "https://[2001:db8::1]:443"}, "public address", "the address 2001:db8::1"),
        ({"WECHAT_PUBLIC_URL": "https://localhost"}, "public address", "the name localhost"),
        ({"WECHAT_PUBLIC_URL": "https://my_shop.example.com"}, "public address", "the name my_shop"),
        ({"WECHAT_PUBLIC_URL": "https://wx.example.com/shop/"}, "public address", "has /shop"),
        ({"WECHAT_PUBLIC_URL": "https://wx.example.com?a=1"}, "public address", "has ?a=1"),
        ({"WECHAT_PUBLIC_URL": "https://me@wx.example.com"}, "public address", "a user's name"),
        ({"WECHAT_SANDBOX": "1", "WECHAT_API_BASE_URL": "http://127.0.0.1:1"}, "sandbox", "nothing reaches a fan"),
    ],
)
def test_what_works_and_may_not_be_meant_is_a_warning(
    changed: dict[str, str], name: str, says: str, look: Look
) -> None:
    warned = [text for status, text in said(look(check_settings, **SAFE | changed), name) if status == "warning"]
    assert any(says in text for text in warned)


@pytest.mark.parametrize("url", ["", "https://wx.example.com", "https://Example.CN:443", "https://a.xn--fiqs8s/"])
def test_nothing_is_said_against_good_settings(url: str, look: Look) -> None:
    findings = look(check_settings, **SAFE, WECHAT_PUBLIC_URL=url)
    assert {finding.status for finding in findings} == {"ok"}
    assert [finding.name for finding in findings][-2:] == ["WECHAT_ENCODING_AES_KEY", "appsecret"]
    assert said(findings, "WECHAT_ENCODING_AES_KEY") == [("ok", "what it seals, it opens -> ")]


def test_every_wrong_setting_is_a_line_of_its_own() -> None:
    findings = list(explain(ConfigError.listing("the settings are wrong", ["WECHAT_A is missing", "WECHAT_B is odd"])))
    assert [finding.found for finding in findings] == ["WECHAT_A is missing", "WECHAT_B is odd"]
    assert {finding.status for finding in findings} == {"wrong"}
    assert [finding.found for finding in explain(ConfigError("no such module"))] == ["no such module"]


def test_a_table_without_a_row_for_the_rest_is_a_warning(look: Look) -> None:
    found = said(look(_table_of({"text": print})), "handlers")
    assert found[1][0] == "warning"
    assert 'no row "*"' in found[1][1]
    assert [status for status, _ in said(look(_table_of(TABLE)), "handlers")] == ["ok"]


def test_a_click_of_the_pushed_menu_that_nobody_answers_is_a_warning(look: Look) -> None:
    found = said(look(_table_of(TABLE, MENU)), "menu")
    assert found[0][0] == "warning"
    assert "V1001_TODAY" in found[0][1]
    rows: dict[Any, Any] = {**TABLE, ("event", "click", "V1001_TODAY"): print}
    answered = said(look(_table_of(rows, MENU)), "menu")
    assert answered == [("ok", "every click of revision 2 has a row -> ")]


def test_a_menu_that_was_never_pushed_or_deleted_is_no_matter(look: Look) -> None:
    assert said(look(_table_of(TABLE)), "menu") == [("ok", "none was pushed from here -> ")]


def _table_of(rows: object, menu: object = None) -> object:
    def check(settings: Settings) -> Findings:
        if menu is not None:
            revision = begin_push(settings.account, json.dumps(menu), "me", "")
            assert revision is not None
            end_push(revision, pushed=True)
        return check_table(settings, Table(rows))  # type: ignore[arg-type]

    return check
