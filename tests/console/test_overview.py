"""What an operator sees at a glance, and the handlers' counts."""

import logging
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from app.api import get_client
from app.console.errors import LastErrors
from tests.actors import OPENID
from tests.console.conftest import Open, readable
from tests.wechat_server import WeChatServer


def fail(message: Any) -> None:
    raise RuntimeError("on purpose")


HANDLERS = {"text": lambda message: message.content, ("text", "fail"): fail}


def test_what_came_is_on_the_page_and_in_the_live_part(console: Open) -> None:
    operator = console(HANDLERS)
    operator.get("/")  # what was counted before is in no minute
    operator.account.say("hi")
    for page in ("/", "/live?span=hour", "/?span=day"):
        text = operator.text(page)
        assert "Messages 1 Past 5 s 0" in text
        assert "text 1" in text
    operator.get("/live?span=year", status=404)


def test_a_handlers_failure_is_counted_and_its_line_is_shown(console: Open) -> None:
    operator = console(HANDLERS)
    operator.get("/")
    operator.account.say("fail")
    text = operator.text("/live")
    assert "Failed 1" in text
    assert "RuntimeError: on purpose" in text


def test_what_is_ready_is_shown(console: Open) -> None:
    assert "Cache ready Database ready Handlers ready access_token no account" in console().text("/")
    down = console(WECHAT_CACHE_URL="redis://127.0.0.1:1")
    assert "Cache not ready Database ready" in down.text("/")


def test_without_tables_all_but_the_charts_is_shown(console: Open, tmp_path: Path) -> None:
    (tmp_path / "wechat.db").unlink()
    text = console(WECHAT_DATABASE_URL=f"sqlite:///{tmp_path}/wechat.db").text("/")
    assert "There are no charts: the database fails" in text
    assert "is it up to date? flask db upgrade" in text
    assert "Messages – Past 5 s –" in text  # nobody knows: not 0


def test_where_the_database_takes_nothing_what_it_holds_is_shown(console: Open, tmp_path: Path) -> None:
    operator = console(HANDLERS)
    operator.get("/")
    operator.account.say("hi")
    with sqlite3.connect(tmp_path / "wechat.db") as database:
        database.execute("CREATE TRIGGER t BEFORE INSERT ON figures BEGIN INSERT INTO nowhere VALUES (1); END")
        database.execute("UPDATE figures SET minute = minute - 1")
    shown = operator.text("/live")
    assert "The database takes nothing, and this minute is not kept" in shown
    assert ("There are no charts" in shown, "text 1" in shown, "Database not ready" in shown) == (False, True, True)


def test_the_token_is_shown_by_its_end_and_never_itself(console: Open, server: WeChatServer) -> None:
    operator = console(**server.settings)
    assert "access_token none yet" in operator.text("/")
    with operator.app.app_context():
        token = get_client().access_token
    page = operator.get("/")
    assert "access_token good until" in readable(page)
    assert token not in page


def test_why_the_token_could_not_be_fetched_is_shown(console: Open, server: WeChatServer) -> None:
    operator = console(**server.settings)
    server.wechat.fail("/cgi-bin/stable_token", "errcode", errcode=40125)
    operator.get("/codes")
    with operator.app.app_context(), pytest.raises(Exception, match="40125"):
        _ = get_client().access_token
    assert "compare WECHAT_APPSECRET with the page" in operator.text("/")


def test_the_page_asks_wechat_for_nothing(console: Open, server: WeChatServer) -> None:
    operator = console(**server.settings)
    for page in ("/", "/live", "/handlers", "/menu", "/codes", "/fans", "/messages", "/doctor"):
        operator.get(page)
    assert server.wechat.calls == []


def test_quotas_are_those_of_the_calls_that_were_made(console: Open, server: WeChatServer) -> None:
    operator = console(**server.settings)
    operator.get("/")
    with operator.app.app_context():
        get_client().get("getcallbackip")
    assert "/cgi-bin/getcallbackip 1 " in operator.text("/quotas")
    asked = len(server.calls_of("/cgi-bin/openapi/quota/get"))
    operator.get("/quotas")
    assert len(server.calls_of("/cgi-bin/openapi/quota/get")) <= asked + 1  # what was known is not asked again


@pytest.mark.parametrize(("errcode", "is_said"), [(76022, False), (45009, True)])
def test_a_call_without_a_quota_costs_the_others_nothing_and_a_refusal_is_said(
    console: Open, server: WeChatServer, errcode: int, is_said: bool
) -> None:
    operator = console(**server.settings)
    operator.get("/")
    with operator.app.app_context():
        get_client().get("getcallbackip")
        get_client().get("get_api_domain_ip")
    server.wechat.fail("/cgi-bin/openapi/quota/get", "errcode", errcode=errcode, times=1)
    text = operator.text("/quotas")
    assert (f"errcode {errcode}" in text) == is_said
    assert text.count("1 – –") == (3 if is_said else 1)


def test_each_row_shows_its_runs_and_its_function(console: Open) -> None:
    operator = console(HANDLERS | {("text", "once"): fail, ("event", "click", "never"): fail})
    operator.account.say("once")
    page = operator.text("/handlers")
    place = f"tests/console/test_overview.py:{fail.__code__.co_firstlineno}"
    assert re.search(rf"\('text', 'once'\) fail {re.escape(place)} 1 1 0 [\d.]+ ms", page)
    assert f"('event', 'click', 'never') fail {place} 0 0 0 –" in page


def test_what_no_row_takes_is_listed_with_the_row_that_would(console: Open) -> None:
    operator = console(HANDLERS)
    operator.account.event("VIEW", "https://example.com/")
    assert "event view 1 ('event', 'view'): your_handler," in operator.text("/handlers")


def test_the_last_errors_of_all_processes_are_shown_newest_first(tmp_path: Path) -> None:
    one, two = LastErrors(tmp_path, 1), LastErrors(tmp_path, 2)
    one.note("2026-11-21T01:00:00 ERROR first\n    Traceback\n    ValueError")
    two.note("2026-11-21T01:00:01 ERROR second")
    assert [line.split("\n")[0][-6:] for line in one.last()] == ["second", " first"]
    assert one.last()[1].endswith("ValueError")


def test_a_long_traceback_keeps_its_reason_and_a_cut_file_begins_with_a_line(tmp_path: Path) -> None:
    errors = LastErrors(tmp_path, 1)
    for number in range(200):
        frames = "".join(f'\n      File "/srv/x{frame}.py", line {frame}' for frame in range(60))
        errors.note(f"2026-11-21T01:{number:04} ERROR failed\n    Traceback{frames}\n    RuntimeError: reason {number}")
    assert (tmp_path / "errors_1.log").stat().st_size <= 64 * 1024
    assert [line.split("reason ")[1] for line in errors.last()] == [str(number) for number in range(199, 179, -1)]
    assert all(line.startswith("2026-11-21T01:") for line in errors.last())


def test_a_flood_of_errors_fills_no_disk(tmp_path: Path) -> None:
    errors = LastErrors(tmp_path, 1)
    for number in range(3000):
        errors.note(f"{number:05} {'x' * 100}")
    assert (tmp_path / "errors_1.log").stat().st_size <= 64 * 1024
    assert [line[:5] for line in errors.last()] == [f"{number:05}" for number in range(2999, 2979, -1)]


def test_a_disk_that_takes_nothing_costs_the_line_alone(tmp_path: Path) -> None:
    errors = LastErrors(tmp_path / "none", 1)
    errors.note("lost")
    assert errors.last() == []


def test_warnings_and_messages_are_no_errors(console: Open) -> None:
    operator = console(HANDLERS)
    logging.getLogger("wechat").warning("only a warning")
    operator.account.say("hi")
    assert "Last errors None." in operator.text("/live")
    assert OPENID not in operator.text("/live")


def test_the_doctors_lines_are_those_of_the_command(console: Open) -> None:
    operator = console(HANDLERS)
    assert "Look again" in operator.text("/doctor")
    text = operator.text("/doctor/lines")
    assert "✓ ok settings all of them are valid" in text
    assert 'handlers no row "*"' in text
    told = operator.app.test_cli_runner().invoke(args=["wechat", "doctor"]).output
    assert all(line.split(None, 2)[2].strip() in text for line in told.splitlines() if line.startswith("✓ handlers"))
