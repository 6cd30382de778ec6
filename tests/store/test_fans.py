"""The fans who logged in, however often and however many at once."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask, current_app
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from sqlalchemy import NullPool, create_engine, func, select, text, update

from app.errors import BadText, StoreError
from app.store import db, transaction
from app.store.fans import delete_fan, find_fan, find_fans, keep_fan
from app.store.menus import begin_push
from app.store.models import Fan
from app.store.qrcodes import counts_by_day
from app.store.recorder import Recorder
from tests.cache_servers import PASSWORD
from tests.database_servers import DatabaseServer
from tests.servers import APPID, wait_for
from tests.store.conftest import note, together, with_tables

PROFILE = {"unionid": "o6_bm", "nickname": "小明🐼", "headimgurl": "https://thirdwx.qlogo.cn/mmopen/1/132"}


def known(openid: str = "oA") -> dict[str, Any]:
    fan = find_fan(APPID, openid)
    assert fan
    return {name: getattr(fan, name) for name in PROFILE}


def test_a_fan_is_kept_with_what_wechat_said(store: Flask) -> None:
    assert find_fan(APPID, "oA") is None
    kept = keep_fan(APPID, "oA", PROFILE | {"openid": "oB", "sex": 0, "privilege": []})
    assert (kept.openid, kept.first_login_at) == ("oA", kept.last_login_at)
    assert known() == PROFILE
    assert find_fan("wx0000000000000000", "oA") is None


def test_a_login_without_a_profile_takes_nothing_away(store: Flask) -> None:
    keep_fan(APPID, "oA", PROFILE)
    keep_fan(APPID, "oA", {"nickname": "", "headimgurl": None})
    assert known() == PROFILE
    keep_fan(APPID, "oA", {"nickname": "大明"})
    assert known() == PROFILE | {"nickname": "大明"}


def test_the_first_login_stays_the_first(store: Flask) -> None:
    first = keep_fan(APPID, "oA", {})
    with transaction() as session:
        session.execute(update(Fan).values(first_login_at=1000, last_login_at=1000))
    kept = keep_fan(APPID, "oA", {})
    assert (kept.id, kept.first_login_at) == (first.id, 1000)
    found = find_fan(APPID, "oA")
    assert found
    assert (found.first_login_at, found.last_login_at) == (1000, kept.last_login_at)
    assert kept.last_login_at >= first.last_login_at


def test_what_does_not_fit_is_made_to_fit(store: Flask) -> None:
    for told, kept in (("a\x00b", "ab"), ("🐼" * 300, "🐼" * 255), (123, "123"), (["a"], "['a']")):
        keep_fan(APPID, "oA", {"nickname": told})
        assert known()["nickname"] == kept


def test_the_first_login_twice_at_once_is_one_fan(store: Flask) -> None:
    for turn in range(5):
        openid = f"o{turn}"
        kept = together(store, [lambda openid=openid: keep_fan(APPID, openid, PROFILE)] * 2)  # type: ignore[misc]
        assert kept[0].id == kept[1].id
        assert known(openid) == PROFILE


def test_many_fans_log_in_at_once(store: Flask) -> None:
    calls = [lambda number=number: keep_fan(APPID, f"o{number}", PROFILE) for number in range(20)]
    together(store, calls)
    with transaction() as session:
        assert session.scalar(select(func.count()).select_from(Fan)) == 20


def names(text: str = "", page: int = 1) -> list[str | None]:
    return [fan.nickname for fan in find_fans(APPID, text, page).fans]


def test_a_search_takes_what_is_typed_for_what_it_is(store: Flask) -> None:
    for number, nickname in enumerate(["50%折扣", "a_b", "aXb", "小明🐼", "Ann", None]):
        keep_fan(APPID, f"oF{number}_Q", {"nickname": nickname, "unionid": f"u{number}"})
    keep_fan("wx0000000000000000", "oF9_Q", {"nickname": "小明"})
    assert sorted(map(str, names())) == ["50%折扣", "Ann", "None", "aXb", "a_b", "小明🐼"]
    for typed, found in {
        "%": ["50%折扣"],
        "_": ["a_b"],
        "明🐼": ["小明🐼"],
        "ANN": ["Ann"],
        "oF3": ["小明🐼"],
        "of3": [],
        "F3": [],
        "u1": ["a_b"],
        "oF5_Q": [None],
        "' OR 1=1 --": [],
        "/": [],
        "a\x00_": ["a_b"],
    }.items():
        assert names(typed) == found, typed


def test_fans_come_in_pages_the_latest_login_first(store: Flask) -> None:
    with transaction() as session:
        times = {"first_login_at": 1, "nickname": "x"}
        session.add_all(Fan(appid=APPID, openid=f"o{at}", last_login_at=at, **times) for at in range(101))
    pages = [find_fans(APPID, "x", page) for page in (1, 2, 3)]
    assert [fan.last_login_at for page in pages for fan in page.fans] == list(range(100, -1, -1))
    assert [(found.page, found.pages, found.total) for found in pages] == [(1, 3, 101), (2, 3, 101), (3, 3, 101)]
    for asked, shown in ((0, 1), (-1, 1), (4, 3), (10**30, 3)):
        assert find_fans(APPID, "", asked).page == shown
    assert find_fans(APPID, "nobody", 2) == ([], 0, 1, 1)


def test_a_fan_is_deleted_once_and_no_other(store: Flask) -> None:
    for appid, openid in ((APPID, "oA"), (APPID, "oa"), ("wx0000000000000000", "oA")):
        keep_fan(appid, openid, PROFILE)
    assert [delete_fan(APPID, "oA"), delete_fan(APPID, "oA")] == [True, False]
    assert find_fan(APPID, "oA") is None
    assert find_fan(APPID, "oa")
    assert find_fan("wx0000000000000000", "oA")


def test_a_fan_logs_in_while_being_deleted(store: Flask) -> None:
    def log_in() -> Any:
        return keep_fan(APPID, "oA", PROFILE).openid

    for _ in range(5):
        done = together(store, [log_in, lambda: delete_fan(APPID, "oA"), log_in, lambda: delete_fan(APPID, "oA")])
        assert (done[0], done[2]) == ("oA", "oA")
    log_in()
    assert known() == PROFILE


JSON_TEXT = st.text(st.characters(exclude_categories=()))
JSON_TEXT |= st.sampled_from(["ab\ud83d", "\udc3c\ud83d", "\x00", "'\\\"%"])


@given(nickname=JSON_TEXT, unionid=JSON_TEXT)
@hypothesis(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_of_json_is_kept_and_can_be_shown(store: Flask, nickname: str, unionid: str) -> None:
    delete_fan(APPID, "oA")
    keep_fan(APPID, "oA", {"nickname": nickname, "unionid": unionid})
    kept = known()["nickname"] or ""
    assert kept.encode().decode() == kept
    if not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in nickname):
        assert kept == nickname[:255]
    assert len(find_fans(APPID, nickname[:200]).fans) <= 1


def test_half_an_emoji_is_shown_as_what_it_is(store: Flask) -> None:
    keep_fan(APPID, "oA", {"nickname": "ab\ud83d"})
    assert known()["nickname"] == "ab\ufffd"
    assert [fan.openid for fan in find_fans(APPID, "b\ud83d").fans] == ["oA"]


@pytest.fixture
def old_table(mariadb: DatabaseServer) -> Iterator[Callable[[str], None]]:
    """Return a function that makes the tables as an older database has them: ``old_table("utf8")``."""
    with mariadb.database() as url, with_tables(url):

        def convert(charset: str, sql_mode: str = "STRICT_TRANS_TABLES") -> None:
            for table in ("fan", "scene_count", "menu_revision"):
                with transaction() as session:
                    session.execute(text(f"ALTER TABLE {table} CONVERT TO CHARACTER SET {charset}"))
            mariadb.ask(f"SET GLOBAL sql_mode = '{sql_mode}'")
            db.engine.dispose()  # what is connected keeps its mode

        yield convert
        mariadb.ask("SET GLOBAL sql_mode = DEFAULT")


@pytest.mark.parametrize("sql_mode", ["STRICT_TRANS_TABLES", "ANSI_QUOTES", ""])
@pytest.mark.parametrize(
    ("charset", "kept"), [("utf8mb4", "小明🐼a"), ("utf8", "小明?a"), ("gbk", "小明?a"), ("latin1", "???a")]
)
def test_what_an_older_table_cannot_hold_keeps_nobody_from_logging_in(
    charset: str, kept: str, sql_mode: str, old_table: Callable[..., None]
) -> None:
    old_table(charset, sql_mode)
    for nickname in ("小明🐼a", "小明a🐼"):
        keep_fan(APPID, "oA", PROFILE | {"nickname": nickname})
        assert sorted(known()["nickname"]) == sorted(kept)
    assert [fan.openid for fan in find_fans(APPID, "a").fans] == ["oA"]
    assert [fan.openid for fan in find_fans(APPID, "🐼").fans] == ["oA"]


def test_a_scene_that_an_older_table_cannot_hold_keeps_no_other_waiting(old_table: Callable[[str], None]) -> None:
    old_table("utf8")
    recorder = Recorder(current_app._get_current_object(), APPID)  # type: ignore[attr-defined]
    for scene in ("海报🐼", "poster-7"):
        note(recorder, "scan", EventKey=scene)
    wait_for(lambda: counts_by_day(APPID, ["poster-7"])["poster-7"], what="the scene that can be written")
    assert counts_by_day(APPID, ["海报?"])["海报?"]


def test_a_menu_that_an_older_table_cannot_hold_is_refused_with_what_to_do(old_table: Callable[[str], None]) -> None:
    old_table("utf8")
    with pytest.raises(BadText, match="CONVERT TO CHARACTER SET utf8mb4") as refused:
        begin_push(APPID, '{"button": ["🐼"]}', "me", "")
    assert "F0" not in str(refused.value)


def test_an_error_of_a_driver_is_an_error_of_the_store(store: Flask) -> None:
    def ask(sql: str, value: object) -> None:
        with transaction() as session:
            session.execute(text(sql), {"value": value})

    for value in ("\ud83d", 2**70, b"\xff", object()):
        with suppress(StoreError):  # and nothing else
            ask("INSERT INTO fan (appid) VALUES (:value)", value)


@pytest.mark.parametrize("how", ["KILL {}", "KILL QUERY {}"])
def test_a_connection_that_the_server_has_closed_is_replaced(how: str, mariadb: DatabaseServer) -> None:
    with with_tables(mariadb.url):
        keep_fan(APPID, "oA", PROFILE)
        with transaction() as session:
            number = session.execute(text("SELECT CONNECTION_ID()")).scalar()
        mariadb.ask(how.format(number))
        assert known() == PROFILE


def test_a_connection_that_was_idle_for_too_long_is_replaced(mariadb: DatabaseServer) -> None:
    with with_tables(mariadb.url):
        mariadb.ask("SET GLOBAL wait_timeout = 1")
        try:
            db.engine.dispose()
            keep_fan(APPID, "oA", PROFILE)
            with transaction() as session:
                number = session.execute(text("SELECT CONNECTION_ID()")).scalar()
                asked = text(f"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {number}")
            other = create_engine(db.engine.url, connect_args={"password": PASSWORD.encode()}, poolclass=NullPool)

            def is_gone() -> bool:
                with other.connect() as connection:
                    return connection.execute(asked).scalar() == 0

            wait_for(is_gone, what="the server's end of an idle connection")
            assert known() == PROFILE
        finally:
            mariadb.ask("SET GLOBAL wait_timeout = DEFAULT")
