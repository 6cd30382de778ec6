"""The QR codes: of all who want one at once, one asks for it."""

import time

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.store import transaction
from app.store.models import QrCode, SceneCount
from app.store.qrcodes import (
    Wanted,
    claim_code,
    codes,
    codes_by_id,
    counts_by_day,
    find_code,
    keep_code,
    latest_codes,
    number_of_codes,
    release_code,
)
from tests.servers import APPID
from tests.store.conftest import together

PERMANENT = Wanted(APPID, "str", "poster-7", 0)
TEMPORARY = Wanted(APPID, "int", "100001", 2_592_000)
URL = "http://weixin.qq.com/q/02TestAA"
both = pytest.mark.parametrize("wanted", [PERMANENT, TEMPORARY], ids=["permanent", "temporary"])


def end_of(wanted: Wanted) -> int:
    return wanted.expire_seconds and int(time.time()) + wanted.expire_seconds


def make(wanted: Wanted, ticket: str = "gQFK8Dw") -> None:
    claim = claim_code(wanted)
    assert claim
    keep_code(wanted, claim, ticket, URL, end_of(wanted))


def claims_of(store: Flask, number: int, wanted: Wanted) -> list[str]:
    """Return the claims of so many threads that want the code at once."""
    calls = [lambda: claim_code(wanted)] * number
    return [claim for claim in together(store, calls) if claim]


def move_back(seconds: int) -> None:
    """Let all codes have been claimed and made that much earlier."""
    with transaction() as session:
        moved = {name: getattr(QrCode, name) - seconds for name in ("claimed_at", "created_at", "ends_at")}
        session.execute(update(QrCode).values(moved))


@both
def test_a_code_that_was_made_is_found(store: Flask, wanted: Wanted) -> None:
    assert find_code(wanted) is None
    claim = claim_code(wanted)
    assert claim
    assert find_code(wanted) is None
    keep_code(wanted, claim, "gQFK8Dw", URL, end_of(wanted))
    code = find_code(wanted)
    assert code
    assert (code.ticket, code.url, code.scene, code.claim) == ("gQFK8Dw", URL, wanted.scene, None)


def test_a_code_that_differs_in_anything_is_another(store: Flask) -> None:
    make(TEMPORARY)
    others = [
        TEMPORARY._replace(appid="wx0000000000000000"),
        TEMPORARY._replace(kind="str"),
        TEMPORARY._replace(scene="100002"),
        TEMPORARY._replace(expire_seconds=60),
    ]
    for number, other in enumerate(others):
        assert find_code(other) is None
        make(other, str(number))
    found = [find_code(wanted) for wanted in (TEMPORARY, *others)]
    assert [code and code.ticket for code in found] == ["gQFK8Dw", "0", "1", "2", "3"]


def test_a_code_that_ends_too_soon_is_none(store: Flask) -> None:
    make(TEMPORARY)
    assert find_code(TEMPORARY, 2_592_000 - 60)
    assert find_code(TEMPORARY, 2_592_000 + 1) is None
    move_back(2_592_000)
    assert find_code(TEMPORARY) is None
    make(TEMPORARY, "again")
    code = find_code(TEMPORARY)
    assert code
    assert code.ticket == "again"


def test_a_permanent_code_does_not_end(store: Flask) -> None:
    make(PERMANENT)
    move_back(10**9)
    assert find_code(PERMANENT, 10**9)


def test_of_twenty_who_want_a_new_code_one_gets_the_claim(store: Flask) -> None:
    assert len([claim for claim in together(store, [lambda: claim_code(PERMANENT)] * 20) if claim]) == 1


def test_of_many_who_want_a_code_again_one_gets_the_claim(store: Flask) -> None:
    make(TEMPORARY)
    assert len([claim for claim in together(store, [lambda: claim_code(TEMPORARY)] * 10) if claim]) == 1


def test_many_new_codes_are_claimed_at_once(store: Flask) -> None:
    wanted = [TEMPORARY._replace(scene=str(number)) for number in range(20)]
    claims = together(store, [lambda one=one: claim_code(one) for one in wanted])  # type: ignore[misc]
    assert len(set(claims) - {None}) == 20


def test_a_claim_that_was_given_up_is_free(store: Flask) -> None:
    claim = claim_code(PERMANENT)
    assert claim
    release_code(PERMANENT, "another's")
    assert claim_code(PERMANENT) is None
    release_code(PERMANENT, claim)
    assert claim_code(PERMANENT)


def test_a_claim_is_taken_over_after_a_minute_by_one_and_worth_nothing_then(store: Flask) -> None:
    first = claim_code(PERMANENT)
    assert first
    move_back(50)
    assert claim_code(PERMANENT) is None
    move_back(11)
    claims = [claim for claim in together(store, [lambda: claim_code(PERMANENT)] * 10) if claim]
    assert len(claims) == 1
    keep_code(PERMANENT, first, "too late", URL, 0)
    assert find_code(PERMANENT) is None
    release_code(PERMANENT, first)
    assert claim_code(PERMANENT) is None
    keep_code(PERMANENT, claims[0], "in time", URL, 0)
    code = find_code(PERMANENT)
    assert code
    assert code.ticket == "in time"


def test_the_code_is_still_found_while_somebody_asks_for_a_new_one(store: Flask) -> None:
    make(TEMPORARY)
    assert claim_code(TEMPORARY)
    assert find_code(TEMPORARY)


def test_codes_come_newest_first_with_the_sums_of_all_days(store: Flask) -> None:
    make(PERMANENT)
    make(TEMPORARY)
    make(PERMANENT._replace(appid="wx0000000000000000"))
    assert claim_code(PERMANENT._replace(scene="only claimed"))
    rows = [(APPID, "poster-7", "2026-02-17", 3, 1), (APPID, "poster-7", "2026-02-18", 4, 0), (APPID, "x", "", 9, 9)]
    rows += [("wx0000000000000000", "poster-7", "2026-02-17", 50, 60), (APPID, "Poster-7", "2026-02-17", 70, 80)]
    with transaction() as session:
        for appid, scene, day, scans, follows in rows:
            session.add(SceneCount(appid=appid, scene=scene, day=day, scans=scans, follows=follows))
    listed = [(code.scene, scans, follows) for code, scans, follows in codes(APPID)]
    assert listed == [("100001", 0, 0), ("poster-7", 7, 1)]
    assert [code.scene for code, _, _ in codes(APPID, limit=1)] == ["100001"]
    assert [code.scene for code, _, _ in codes(APPID, limit=1, skip=1)] == ["poster-7"]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("%", ["100%_off"]),
        ("_", ["a_b", "100%_off"]),
        ("/", ["a/b"]),
        ("\\", ["a\\b"]),
        ("门店", ["上海门店"]),
        ("海门", ["上海门店"]),
        ("a", ["a\\b", "a/b", "a_b", "aXb"]),
        ("'", []),
    ],
)
def test_a_search_takes_every_character_for_itself(store: Flask, part: str, found: list[str]) -> None:
    for scene in ("上海门店", "100%_off", "aXb", "a_b", "a/b", "a\\b"):
        make(PERMANENT._replace(scene=scene))
    make(PERMANENT._replace(appid="wx0000000000000000", scene="a%_/\\门店海门"))
    assert [code.scene for code, _, _ in codes(APPID, part=part)] == found
    assert [code.scene for code in latest_codes(APPID, 2, part)] == found[:2]
    assert number_of_codes(APPID, part) == len(found)


def test_codes_are_found_by_their_ids_in_their_own_account_once_they_are_made(store: Flask) -> None:
    make(PERMANENT)
    make(TEMPORARY)
    make(PERMANENT._replace(appid="wx0000000000000000"))
    assert claim_code(PERMANENT._replace(scene="only claimed"))
    with transaction() as session:
        ids = [*session.scalars(select(QrCode.id).order_by(QrCode.id))]
    assert [code.scene for code in codes_by_id(APPID, ids)] == ["100001", "poster-7"]
    assert codes_by_id(APPID, []) == []


def test_counts_are_found_by_scene_and_day(store: Flask) -> None:
    rows = [(APPID, "poster-7", "2026-02-17", 3, 1), (APPID, "poster-7", "2026-02-18", 4, 0), (APPID, "x", "", 9, 9)]
    rows += [("wx0000000000000000", "poster-7", "2026-02-18", 50, 60), (APPID, "7", "2026-02-18", 0, 2)]
    with transaction() as session:
        for appid, scene, day, scans, follows in rows:
            session.add(SceneCount(appid=appid, scene=scene, day=day, scans=scans, follows=follows))
    found = counts_by_day(APPID, ["poster-7", "7", "nobody"], "2026-02-18")
    assert found == {"poster-7": {"2026-02-18": (4, 0)}, "7": {"2026-02-18": (0, 2)}, "nobody": {}}
    assert counts_by_day(APPID, ["poster-7"]) == {"poster-7": {"2026-02-17": (3, 1), "2026-02-18": (4, 0)}}
