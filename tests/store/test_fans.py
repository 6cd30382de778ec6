"""The fans who logged in, however often and however many at once."""

from typing import Any

from flask import Flask
from sqlalchemy import func, select, update

from app.store import transaction
from app.store.fans import find_fan, keep_fan
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
