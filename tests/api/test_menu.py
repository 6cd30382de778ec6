"""The menu, pushed to a WeChat played locally, and its revisions in the database."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from app.api import get_api, menu
from app.api.menu_rules import check
from app.errors import ApiError, BadMenu
from app.store.menus import begin_push, current_revision, revisions, unfinished_push
from tests.servers import APPID
from tests.wechat_server import WeChatServer

CREATE, GET, ADD = "/cgi-bin/menu/create", "/cgi-bin/menu/get", "/cgi-bin/menu/addconditional"
TODAY = {"button": [{"type": "click", "name": "今日", "key": "V1001_TODAY"}]}
NEWS = {"button": [{"name": "更多", "sub_button": [{"type": "view", "name": "新闻", "url": "https://example.com/"}]}]}
RULED = {**NEWS, "matchrule": {"client_platform_type": "1"}}
Run = Callable[..., Result]


@pytest.fixture
def run(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: app.test_cli_runner().invoke(args=["wechat", "menu", *arguments])


def push(app: Flask, wanted: Any, **more: Any) -> Any:
    with app.app_context():
        return menu.push(get_api().client, APPID, wanted, "ops", **more)


def live(app: Flask) -> Any:
    with app.app_context():
        return menu.pull(get_api().client)


def current(app: Flask) -> Any:
    with app.app_context():
        found = current_revision(APPID)
    return found and (found.number, json.loads(found.content))


def test_a_push_is_a_revision_with_its_author_and_note(app: Flask) -> None:
    push(app, TODAY, note="first")
    push(app, NEWS, note="second")
    assert live(app) == NEWS
    with app.app_context():
        kept = [(one.number, one.author, one.note, one.current) for one in revisions(APPID)]
    assert kept == [(2, "ops", "second", True), (1, "ops", "first", None)]


def test_what_is_there_already_calls_nothing(app: Flask, server: WeChatServer) -> None:
    push(app, TODAY)
    calls = len(server.wechat.calls)
    revision, called = push(app, {"menu": {**TODAY, "menuid": 5}})
    assert (revision.number, called) == (1, False)
    assert len(server.wechat.calls) == calls
    _, called = push(app, TODAY, force=True)
    assert called


@pytest.mark.parametrize("kind", ["errcode", "html"])
def test_a_push_that_wechat_refuses_leaves_the_current_one_current(kind: str, app: Flask, server: WeChatServer) -> None:
    push(app, TODAY)
    server.wechat.fail(CREATE, kind, errcode=40018)
    with pytest.raises(ApiError):
        push(app, NEWS)
    server.wechat.heal()
    assert live(app) == TODAY
    assert current(app) == (1, TODAY)
    assert push(app, NEWS)[0].number == 2


def test_conditional_menus_go_and_come(app: Flask, server: WeChatServer) -> None:
    both = {**TODAY, "conditionalmenu": [RULED, {**TODAY, "matchrule": {"tag_id": "100"}}]}
    push(app, both)
    assert live(app) == both
    other = {**TODAY, "conditionalmenu": [{**TODAY, "matchrule": {"tag_id": "200"}}]}
    push(app, other)
    assert live(app) == other
    push(app, TODAY)
    assert live(app) == TODAY
    assert server.calls_of(ADD) == [0, 0, 0]


@pytest.mark.parametrize("before", [None, TODAY, {**TODAY, "conditionalmenu": [RULED]}])
def test_a_refused_conditional_menu_puts_everything_back(before: Any, app: Flask, server: WeChatServer) -> None:
    if before:
        push(app, before)
    server.wechat.fail(ADD, errcode=65316, times=1)
    with pytest.raises(ApiError, match="65316"):
        push(app, {**NEWS, "conditionalmenu": [{**NEWS, "matchrule": {"tag_id": "7"}}]})
    assert live(app) == before
    assert current(app) == (before and (1, before))


@pytest.mark.parametrize("kind", ["cut", "html"])
def test_after_a_push_whose_end_nobody_knows_the_next_one_is_made_whatever_it_holds(
    kind: str, app: Flask, server: WeChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    push(app, TODAY)
    server.wechat.fail(CREATE, kind)
    with pytest.raises(ApiError):
        push(app, NEWS)
    server.wechat.heal()
    assert live(app) == (NEWS if kind == "cut" else TODAY)  # a cut is no answer to what WeChat has done
    assert "WeChat may have taken a part" in caplog.text
    assert current(app) == (1, TODAY)
    assert push(app, TODAY)[1]
    assert live(app) == TODAY
    assert push(app, TODAY)[1] is False


def test_a_menu_that_cannot_be_put_back_is_said_and_pushed_anew(
    app: Flask, server: WeChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.wechat.fail(ADD, errcode=65316)
    server.wechat.fail("/cgi-bin/menu/delete", errcode=45009)
    with pytest.raises(ApiError, match="65316"):
        push(app, {**NEWS, "conditionalmenu": [RULED]})
    assert "could not be put back" in caplog.text
    with app.app_context():
        assert unfinished_push(APPID) is not None
        assert revisions(APPID) == []


def test_a_push_that_died_says_since_when_and_until_when_it_is_in_the_way(app: Flask) -> None:
    with app.app_context():
        begin_push(APPID, "{}", "anna", "")
    with pytest.raises(BadMenu, match=r"anna has been pushing a menu since \d\d:.*, or at \d\d:"):
        push(app, TODAY)
    with app.app_context(), pytest.raises(BadMenu, match="anna"):
        menu.delete(get_api().client, APPID, "ops")


def test_a_wrong_menu_is_refused_before_any_call(app: Flask, server: WeChatServer) -> None:
    with pytest.raises(BadMenu, match='button 1 "x": '):
        push(app, {"button": [{"type": "click", "name": "x"}]})
    assert server.wechat.calls == []
    assert current(app) is None


def test_of_pushes_at_once_the_last_at_wechat_is_the_current_one(app: Flask) -> None:
    def one(number: int) -> str:
        try:
            push(app, {"button": [{"type": "click", "name": f"N{number}", "key": "K"}]})
        except BadMenu as error:
            return str(error)
        return "pushed"

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(one, range(8)))
    assert "pushed" in said
    assert {text[:33] for text in said if text != "pushed"} <= {"ops has been pushing a menu since"}
    assert current(app)[1] == live(app)


def test_a_rollback_is_a_new_revision(app: Flask) -> None:
    push(app, TODAY)
    push(app, NEWS)
    with app.app_context():
        revision, _ = menu.rollback(get_api().client, APPID, 1, "ops")
    assert (revision.number, revision.note) == (3, "rollback to 1")
    assert current(app) == (3, TODAY)
    assert live(app) == TODAY
    with app.app_context(), pytest.raises(BadMenu, match="no revision 9"):
        menu.rollback(get_api().client, APPID, 9, "ops")


def test_the_commands_pull_check_diff_push_and_go_back(run: Run, tmp_path: Path, server: WeChatServer) -> None:
    file = tmp_path / "menu.json"
    file.write_text(json.dumps(TODAY), encoding="utf-8")
    assert run("check").output == "menu.json: WeChat would take it\n"
    assert server.wechat.calls == []
    assert run("push", "--author", "anna", "--note", "spring").output == "pushed revision 1\n"
    assert run("push").output.startswith("nothing to do: revision 1 was pushed last")
    assert run("diff").exit_code == 0
    file.write_text(json.dumps(NEWS), encoding="utf-8")
    changed = run("diff")
    assert changed.exit_code == 1
    assert '+      "name": "更多",' in changed.output
    assert run("pull").exit_code == 1  # it would write over the file
    assert json.loads(file.read_text(encoding="utf-8")) == NEWS
    assert run("pull", "there.json").output == "wrote there.json\n"
    assert json.loads((tmp_path / "there.json").read_text(encoding="utf-8")) == TODAY
    assert json.loads(run("pull", "-").stdout) == TODAY
    run("push")
    assert run("rollback", "1").output == "pushed revision 3\n"
    lines = run("history").output.splitlines()
    assert [line.split()[0] for line in lines] == ["*", "2", "1"]
    assert lines[2].endswith("anna  spring")
    assert run("delete", "--yes").output == "deleted\n"
    assert run("pull", "-").exit_code == 1
    assert not any(line.startswith("*") for line in run("history").output.splitlines())
    assert run("push").output == "pushed revision 4\n"


def test_pull_writes_conditional_menus_as_menu_get_answers_them(app: Flask, run: Run) -> None:
    both = {**TODAY, "conditionalmenu": [RULED]}
    push(app, both)
    assert json.loads(run("pull", "-").stdout) == {"menu": TODAY, "conditionalmenu": [RULED]}
    run("pull")
    assert run("push").output.startswith("nothing to do: revision 1 was pushed last")
    assert run("diff").exit_code == 0


def test_check_warns_of_a_click_without_a_row_and_names_what_is_wrong(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "menu.json"
    file.write_text('{"button": [{"type": "click", "name": "赞", "key": "GOOD"}]}', encoding="utf-8")
    fine = run("check")
    assert fine.exit_code == 0
    assert '("event", "click", "GOOD")' in fine.stderr
    file.write_text('{"button": [{"type": "view", "name": "赞"}]}', encoding="utf-8")
    wrong = run("check")
    assert wrong.exit_code == 1
    assert 'button 1 "赞": url' in wrong.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"{", "menu.json line 1, column 2"), (b"\xff\xfe", "not UTF-8"), (None, "no such file"), (b"[]", "expected")],
)
def test_a_file_that_is_no_menu_is_named(content: bytes | None, says: str, run: Run, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "menu.json").write_bytes(content)
    for command in ("check", "push"):
        result = run(command)
        assert result.exit_code == 1
        assert says in result.output
        assert "Traceback" not in result.output


ANSWER: dict[str, Any] = {
    "menu": {"button": [{"type": "click", "name": "今日", "key": "A", "sub_button": []}], "menuid": 208396938},
    "conditionalmenu": [
        {
            "button": [{"type": "click", "name": "B", "key": "B", "sub_button": []}],
            "matchrule": {"group_id": 2, "sex": "", "country": "", "client_platform_type": 2},
            "menuid": 208396993,
        }
    ],
}


@pytest.mark.parametrize("status", [{}, {"errcode": 0, "errmsg": "ok"}])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_an_answer_of_menu_get_is_pushed_as_it_was_pasted_with_a_mark_or_without(
    mark: str, status: dict[str, Any], run: Run, tmp_path: Path, server: WeChatServer
) -> None:
    file = tmp_path / "menu.json"
    file.write_text(mark + json.dumps(ANSWER | status), encoding="utf-8")
    assert run("check", str(file)).exit_code == 0
    assert run("push", str(file)).exit_code == 0
    assert run("diff", str(file)).exit_code == 0
    made = [call["body"] for call in server.wechat.calls if call["path"].endswith("addconditional")]
    assert [one["matchrule"] for one in made] == [{"tag_id": "2", "client_platform_type": "2"}]


def test_a_refusal_that_was_pasted_is_no_menu() -> None:
    assert check(ANSWER | {"errcode": 40001, "errmsg": "bad"}).problems
    rule = {"conditionalmenu": [{**ANSWER["conditionalmenu"][0], "matchrule": {"group_id": 2, "sex": 1}}]}
    assert any("sex" in problem for problem in check(ANSWER | rule).problems)
