"""The menu at the console: edited, checked, compared, pushed and rolled back."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.api import get_api, get_client, menu
from app.api.menu_form import normalised
from app.console.menu_draft import read, wanted
from app.store import db
from app.store.menus import begin_push, current_revision, revisions
from tests.api.test_menu_rules import TAKES
from tests.console.conftest import ORIGIN, Open, Operator, readable
from tests.console.menu_form import Editor, said
from tests.servers import APPID
from tests.wechat_server import WeChatServer

CREATE, GET, ADD = "/cgi-bin/menu/create", "/cgi-bin/menu/get", "/cgi-bin/menu/addconditional"
TODAY = {"button": [{"type": "click", "name": "今日", "key": "TODAY"}]}
NEWS = {"button": [{"name": "更多", "sub_button": [{"type": "view", "name": "新闻", "url": "https://example.com/"}]}]}
RULED = {**NEWS, "matchrule": {"client_platform_type": "1", "tag_id": "100"}}
ODD = ("🎵", "<script>alert(1)</script>", "\"'&amp;", "  a  ", "x" * 60)
Opened = Callable[..., Editor]


@pytest.fixture
def operator(console: Open, server: WeChatServer) -> Iterator[Operator]:
    opened = console({("event", "click", "TODAY"): print}, **server.settings)
    yield opened
    with opened.app.app_context():
        db.engine.dispose()
        get_api().client._http.close()


@pytest.fixture
def editor(operator: Operator) -> Opened:
    """Return a function that opens the editor; given a menu, this one has been pushed before."""

    def open_editor(pushed: Any = None, path: str = "/menu") -> Editor:
        if pushed is not None:
            with operator.app.app_context():
                menu.push(get_api().client, APPID, pushed, "anna", "from the shell")
        return Editor(operator, path)

    return open_editor


def meant(editor: Editor) -> Any:
    return normalised(wanted(read(editor.fields)))


def current(operator: Operator) -> Any:
    with operator.app.app_context():
        found = current_revision(APPID)
    return found and (found.number, json.loads(found.content), found.author, found.note)


def rolled_back(operator: Operator, status: int, number: Any) -> TestResponse:
    """Press the button of revision ``number``."""
    (base,) = set(re.findall(r'name="base" value="(\d+)"', operator.get("/menu")))
    return operator.post("/menu/rollback", status, number=number, base=base)


def live(operator: Operator) -> Any:
    with operator.app.app_context():
        return menu.pull(get_api().client)


def every_type() -> dict[str, Any]:
    leaves = [{"name": "x", "type": kind, **fields} for kind, fields in TAKES.items()]
    leaves += [{"name": name, "type": "click", "key": name} for name in ODD]
    bars = [{"button": [{"name": "s", "sub_button": leaves[at : at + 5]}]} for at in range(0, len(leaves), 5)]
    rules = [{"tag_id": "2"}, {"client_platform_type": "3"}, {"tag_id": "7", "client_platform_type": "2"}]
    conditional = [{**bar, "matchrule": rule} for bar, rule in zip(bars[1:], rules, strict=True)]
    return {"button": [*leaves[:2], *bars[0]["button"]], "conditionalmenu": conditional}


def test_a_menu_of_all_types_goes_through_the_form_as_it_is(editor: Opened) -> None:
    opened = editor(every_type())
    assert meant(opened) == every_type()
    opened.press("show")
    assert meant(opened) == every_type()
    assert "<script>alert" not in opened.page


def test_what_the_editor_does_not_know_goes_through_it_too(operator: Operator, editor: Opened, tmp_path: Path) -> None:
    editor(TODAY)
    odd = {
        "button": [{"name": "n", "type": "news", "value": "v", "news_info": {"list": [1, '"<b>']}}, 7],
        "conditionalmenu": [{**TODAY, "matchrule": {"tag_id": "2", "sex": "1"}, "style": [1]}],
    }
    set_content(tmp_path, json.dumps(odd))
    opened = editor()
    assert meant(opened) == odd
    opened.press("show")
    assert meant(opened) == odd
    opened.press("drop menu-0-1")
    opened.press("drop menu-0-2")
    opened.press("drop menu-1")
    assert meant(opened) == {
        "button": [{"name": "n", "type": "news"}],
        "conditionalmenu": [{**TODAY, "matchrule": {"tag_id": "2"}}],
    }


def set_content(folder: Path, content: str) -> None:
    with closing(sqlite3.connect(folder / "wechat.db")) as database, database:
        database.execute("UPDATE menu_revision SET content = ?", (content,))


def test_without_a_menu_the_editor_is_empty_and_calls_nothing(editor: Opened, server: WeChatServer) -> None:
    opened = editor()
    assert "There is no button yet" in opened.page
    assert "No menu has been pushed" in opened.page
    assert server.wechat.calls == []


def test_a_menu_is_put_together_and_pushed(operator: Operator, editor: Opened, server: WeChatServer) -> None:
    opened = editor()
    opened.press("add menu-0")
    assert opened.focus == "menu-0-1-name"
    opened.fill({"menu-0-1-name": "更多"})
    opened.press("add menu-0-1")
    opened.fill({"menu-0-1-1-name": "新闻", "menu-0-1-1-type": "view"})
    opened.press("show")
    opened.fill({"menu-0-1-1-url": "https://example.com/"})
    opened.press("add menu")
    opened.fill({"menu-1-tag_id": "100", "menu-1-client_platform_type": "1", "note": "<b>春季</b>"})
    opened.press("add menu-1")
    opened.fill({"menu-1-1-name": "今日", "menu-1-1-key": "TODAY"})
    both = {**NEWS, "conditionalmenu": [{**TODAY, "matchrule": {"tag_id": "100", "client_platform_type": "1"}}]}
    assert opened.push(303) == "/console/menu?pushed=1"
    assert live(operator) == both
    assert current(operator) == (1, both, "小王", "<b>春季</b>")
    page = operator.get("/menu?pushed=1")
    assert "Pushed revision 1" in page
    assert "&lt;b&gt;春季" in page


@pytest.mark.parametrize(
    ("language", "too_long", "missing", "url", "count"),
    [
        ("en", "name has 18 bytes; a button takes", "key is missing; a click", "url is &#34;x&#34;", "button holds 0"),
        ("zh", "太长：最多 16 字节", "请填写", "网址要以 http://", "要有 1 到 3 个按钮"),
    ],
)
def test_what_is_wrong_is_said_at_the_input(
    operator: Operator, editor: Opened, language: str, too_long: str, missing: str, url: str, count: str
) -> None:
    operator.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = language
    opened = editor({**TODAY, "conditionalmenu": [RULED]})
    assert 'aria-invalid="true"' not in opened.page
    opened.fill({"menu-0-1-name": "六个汉字太长", "menu-0-1-key": "", "menu-1-1-1-url": "x", "menu-1-tag_id": "vip"})
    del opened.fields["menu-0-1-key"]
    opened.press("add menu")
    for name, text in (("menu-0-1-name", too_long), ("menu-0-1-key", missing), ("menu-2", count)):
        assert text.replace("&#34;", '"') in opened.says(name)
    assert url.replace("&#34;", '"') in opened.says("menu-1-1-1-url")
    assert opened.says("menu-1-tag_id") != ""
    assert opened.says("menu-0-1-type") == opened.says("menu-1-1") == ""
    assert re.search(r'id="menu-0-1-name"[^>]* aria-describedby="menu-0-1-name-says" aria-invalid="true"', opened.page)


def test_another_type_has_other_inputs_and_the_way_back_loses_nothing(editor: Opened) -> None:
    opened = editor(TODAY)
    opened.fill({"menu-0-1-type": "miniprogram"})
    opened.press("show")
    assert [opened.says(f"menu-0-1-{field}") for field in ("url", "appid", "pagepath")].count("") == 0
    assert 'id="menu-0-1-key"' not in opened.page
    opened.fill({"menu-0-1-type": "click"})
    opened.press("show")
    assert meant(opened) == TODAY


def test_a_click_that_no_handler_takes_is_said_at_its_key(editor: Opened) -> None:
    opened = editor(TODAY)
    assert opened.says("menu-0-1-key") == ""
    opened.fill({"menu-0-1-key": "OTHER"})
    opened.press("show")
    assert 'no handler has a row for the click on key "OTHER"' in opened.says("menu-0-1-key")


def test_while_typing_only_the_preview_and_what_is_wrong_come_back(editor: Opened) -> None:
    opened = editor(NEWS)
    opened.fill({"menu-0-1-1-name": "<i>", "menu-0-1-1-url": ""})
    answer = opened.check()
    assert "<input" not in answer
    assert "&lt;i&gt;" in answer
    assert "<i>" not in answer
    assert "url is empty" in said(answer, "menu-0-1-1-url")
    slots = set(re.findall(r'class="says" id="([\w-]+)" hx-swap-oob="true"', answer))
    assert slots == set(re.findall(r'class="says" id="([\w-]+)"', opened.page))


def test_a_refused_push_is_corrected_pushed_and_rolled_back(
    operator: Operator, editor: Opened, server: WeChatServer, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = editor(TODAY)
    calls = len(server.wechat.calls)
    opened.fill({"menu-0-1-name": "", "note": "spring"})
    opened.push(422)
    assert 'href="#menu-0-1-name"' in opened.page
    assert (opened.fields["note"], len(server.wechat.calls)) == ("spring", calls)
    assert "name is empty" in said(opened.check(), "menu-0-1-name")
    opened.fill({"menu-0-1-name": "明日"})
    assert opened.push(303) == "/console/menu?pushed=2"
    tomorrow = {"button": [{**TODAY["button"][0], "name": "明日"}]}
    assert current(operator) == (2, tomorrow, "小王", "spring")
    assert rolled_back(operator, 303, 1).headers["Location"] == "/console/menu?pushed=3"
    assert current(operator) == (3, TODAY, "小王", "rollback to 1")
    assert live(operator) == TODAY
    lines = [line.partition("wechat.audit ")[2] for line in capfd.readouterr().err.splitlines() if "audit" in line]
    assert lines[-2:] == [
        "push a menu operator=小王 from=127.0.0.1 revision=2",
        "roll the menu back operator=小王 from=127.0.0.1 revision=3 to=1",
    ]


def test_the_history_names_author_and_note_and_opens_each_revision(operator: Operator, editor: Opened) -> None:
    editor(TODAY)
    editor(NEWS)
    rows = re.findall(r"<tr>.*?</tr>", operator.get("/menu"), re.DOTALL)
    assert [readable(row).split()[0] for row in rows[1:]] == ["2", "1"]
    assert "anna current from the shell" in readable(rows[1])
    assert ("Push revision 1 again?" in rows[2], "again?" in rows[1]) == (True, False)
    older = editor(path="/menu?revision=1")
    assert meant(older) == TODAY
    assert "The editor holds revision 1, which is not the current one" in older.page
    assert older.push(303) == "/console/menu?pushed=3"


@pytest.mark.parametrize("number", ["9", "x", "-1", "9" * 30, "<b>"])
def test_a_revision_that_is_not_there_is_named(operator: Operator, editor: Opened, number: str) -> None:
    editor(TODAY)
    shown = readable(number.replace("<", "&lt;"))[:20]
    assert f"there is no revision {shown}" in readable(operator.get(f"/menu?revision={number}", 404))
    assert f"there is no revision {shown}" in readable(rolled_back(operator, 409, number).text)


def test_what_is_current_is_not_pushed_again(operator: Operator, editor: Opened, server: WeChatServer) -> None:
    opened = editor(NEWS)
    calls = len(server.wechat.calls)
    opened.push(200)
    assert "Nothing to do: the current revision 1" in opened.page
    assert rolled_back(operator, 303, 1).headers["Location"] == "/console/menu?same=1"
    assert "Nothing to do: the current revision 1" in operator.text("/menu?same=1")
    assert len(server.wechat.calls) == calls


def test_what_was_changed_elsewhere_is_pushed_again_where_that_is_asked_for(
    operator: Operator, editor: Opened, server: WeChatServer
) -> None:
    opened = editor(TODAY)
    with operator.app.app_context():
        get_client().menu.create({"button": [{"type": "click", "name": "elsewhere", "key": "V1"}]})
    opened.push(200)
    assert 'name="force" value="1"' in opened.page
    assert opened.push(303, force="1") == "/console/menu?pushed=2"
    assert live(operator) == TODAY


@pytest.mark.parametrize("kind", ["errcode", "cut"])
def test_what_was_typed_is_there_after_a_push_that_failed(
    operator: Operator, editor: Opened, server: WeChatServer, kind: str
) -> None:
    opened = editor(TODAY)
    opened.fill({"menu-0-1-name": "明日", "note": "spring"})
    server.wechat.fail(CREATE, kind, errcode=40018)
    opened.push(409)
    assert ("40018" in opened.page) == (kind == "errcode")
    assert ("WeChat may have taken a part of it" in opened.page) == (kind == "cut")
    assert (opened.fields["menu-0-1-name"], opened.fields["note"]) == ("明日", "spring")
    server.wechat.heal()
    assert opened.push(303).startswith("/console/menu?pushed=")
    assert live(operator) == {"button": [{**TODAY["button"][0], "name": "明日"}]}


def test_a_rollback_replaces_nobodys_menu_unseen(operator: Operator, editor: Opened) -> None:
    editor(TODAY)
    editor(NEWS)
    refused = operator.post("/menu/rollback", 409, number=1, base=1).text
    assert "somebody has changed the menu since this editor was opened (anna: revision 2). Once more" in readable(
        refused
    )
    assert current(operator)[0] == 2


def test_a_push_by_htmx_leads_on_and_a_refused_one_stays_on_the_page(operator: Operator, editor: Opened) -> None:
    opened, by_htmx = editor(TODAY), {**ORIGIN, "HX-Request": "true"}
    opened.fill({"menu-0-1-name": "  "})
    refused = operator.client.post("/console/menu/push", data=opened.fields, headers=by_htmx)
    assert (refused.status_code, "name is empty" in said(refused.text, "menu-0-1-name")) == (200, True)
    opened.fill({"menu-0-1-name": "明日"})
    pushed = operator.client.post("/console/menu/push", data=opened.fields, headers=by_htmx)
    assert (pushed.status_code, pushed.headers["HX-Redirect"]) == (200, "/console/menu?pushed=2")
    assert "Pushed revision 2" in operator.text("/menu?pushed=2")
    assert "Pushed revision" not in operator.text("/menu?pushed=1")  # an address that was kept


def test_a_rollback_that_wechat_refuses_is_said(operator: Operator, editor: Opened, server: WeChatServer) -> None:
    editor(TODAY)
    editor(NEWS)
    server.wechat.fail(CREATE, "errcode", errcode=45009)
    assert "45009" in rolled_back(operator, 409, 1).text
    assert current(operator)[0] == 2


def test_of_two_who_push_at_once_the_second_is_told_who_does(operator: Operator, editor: Opened) -> None:
    opened = editor()
    opened.press("add menu-0")
    opened.fill({"menu-0-1-name": "a", "menu-0-1-key": "TODAY"})
    with operator.app.app_context():
        begin_push(APPID, "{}", "anna", "")
    opened.push(409)
    assert "anna has been pushing a menu since" in opened.page
    assert opened.fields["menu-0-1-name"] == "a"


def test_who_has_edited_an_older_menu_is_told_once_whose_they_would_replace(operator: Operator, editor: Opened) -> None:
    opened = editor(TODAY)
    editor(NEWS)
    opened.fill({"menu-0-1-name": "明日"})
    opened.push(409)
    assert "anna: revision 2" in opened.page
    assert current(operator)[0] == 2
    assert opened.push(303) == "/console/menu?pushed=3"


def test_the_difference_to_what_wechat_has_is_seen(editor: Opened, server: WeChatServer) -> None:
    opened = editor(TODAY)
    opened.press("compare")
    assert "WeChat has the same" in opened.page
    opened.fill({"menu-0-1-name": "<明日>"})
    opened.press("compare")
    assert re.search(
        r"<del>-\s+&#34;name&#34;: &#34;今日&#34;,</del>\s<ins>\+\s+&#34;name&#34;: &#34;&lt;明日", opened.page
    )
    server.wechat.fail(GET, "errcode", errcode=45009)
    opened.press("compare")
    assert "45009" in opened.page
    assert opened.fields["menu-0-1-name"] == "<明日>"


def test_what_wechat_has_is_loaded_into_the_editor(operator: Operator, editor: Opened) -> None:
    opened = editor()
    opened.press("load")
    assert "WeChat has no menu" in opened.page
    with operator.app.app_context():
        get_api().client.menu.create(NEWS)
        get_api().client.menu.add_conditional(RULED)
    opened.press("load")
    assert meant(opened) == {**NEWS, "conditionalmenu": [RULED]}
    assert opened.fields["changed"] == "1"


def test_without_an_account_at_wechat_the_page_is_there_and_says_what_is_missing(console: Open) -> None:
    operator = console()
    opened = Editor(operator)
    opened.press("compare")
    assert "WECHAT_APPID and WECHAT_APPSECRET missing" in opened.page
    with operator.app.app_context():
        db.engine.dispose()


def test_the_page_asks_the_api_for_nothing(operator: Operator, editor: Opened, server: WeChatServer) -> None:
    editor(every_type())
    calls = len(server.wechat.calls)
    assert "Conditional menu 3" in operator.get("/menu")
    assert len(server.wechat.calls) == calls


def test_without_its_tables_the_page_says_so_and_a_push_keeps_what_was_typed(
    operator: Operator, editor: Opened, tmp_path: Path
) -> None:
    opened = editor(TODAY)
    with closing(sqlite3.connect(tmp_path / "wechat.db")) as database:
        database.execute("DROP TABLE menu_revision")
    opened.fill({"menu-0-1-name": "明日"})
    opened.push(409)
    assert "db upgrade" in opened.page
    assert opened.fields["menu-0-1-name"] == "明日"
    assert "db upgrade" in operator.get("/menu", 503)
    assert "db upgrade" in operator.post("/menu/rollback", 503, number=1, base=0).text


def test_a_form_that_no_page_has_is_no_failure(operator: Operator, editor: Opened) -> None:
    editor(TODAY)
    for path, status in (("/menu/draft", 200), ("/menu/push", 422), ("/menu/rollback", 409)):
        operator.post(path, status, **{"menu-0-1-rest": '"\\ud83d"', "menu-9-9-9-name": "x", "do": "up menu-0-1"})
    with operator.app.app_context():
        assert len(revisions(APPID)) == 1
