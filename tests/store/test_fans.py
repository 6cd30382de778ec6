"""The fans who logged in, however often and however many at once."""

from typing import Any

from flask import Flask
from sqlalchemy import func, select, update

from app.store import transaction
from app.store.fans import delete_fan, find_fan, find_fans, keep_fan
from app.store.models import Fan
from tests.servers import APPID
from tests.store.conftest import together

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
    for given, kept in (("a\x00b", "ab"), ("🐼" * 300, "🐼" * 255), (123, "123"), (["a"], "['a']")):
        keep_fan(APPID, "oA", {"nickname": given})
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
    for text, found in {
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
        assert names(text) == found, text


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
