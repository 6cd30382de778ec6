"""What is recorded beside the messages: nothing is lost or counted twice, whoever else counts and whatever dies."""

import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import delete, select

from app.store import db, transaction
from app.store.fans import find_fan, keep_fan
from app.store.models import Fan, SceneCount
from app.store.recorder import Recorder
from tests.database_servers import DatabaseServer
from tests.servers import APPID, wait_for
from tests.store.conftest import note, opened, together

_shared: dict[str, threading.Barrier] = {}


def counts(appid: str = APPID) -> dict[str, tuple[int, int]]:
    """Return each scene's scans and follows of today."""
    with transaction() as session:
        rows = list(session.scalars(select(SceneCount).where(SceneCount.appid == appid, SceneCount.day > "2026-02-17")))
    assert {row.day for row in rows} <= {time.strftime("%Y-%m-%d")}
    return {row.scene: (row.scans, row.follows) for row in rows}


def written(recorder: Recorder) -> None:
    wait_for(lambda: not recorder._is_running, what="the end of the writing")


def scan(recorder: Recorder, scene: str = "poster-7") -> None:
    note(recorder, "SCAN", EventKey=scene)


def seconds_of(recorder: Recorder, event: str, **fields: str) -> float:
    started = time.monotonic()
    note(recorder, event, **fields)
    return time.monotonic() - started


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Return two processes, which begin their work together."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, _begin_together, (context.Barrier(2),)) as pool:
        yield pool


def _begin_together(barrier: threading.Barrier) -> None:
    _shared["barrier"] = barrier


def _scan_in_a_process(url: str) -> None:
    def scan_both() -> None:
        for scene in "ab" * 10:
            scan(recorder, scene)

    with opened(url) as app:
        recorder = Recorder(app, APPID)
        _shared["barrier"].wait(30)
        together(app, [scan_both] * 3)


def test_scans_and_follows_are_counted_by_scene_and_day(store: Flask, recorder: Recorder) -> None:
    with transaction() as session:
        session.add(SceneCount(appid=APPID, scene="poster-7", day="2026-02-17", scans=5, follows=5))
    for _ in range(3):
        scan(recorder)
    for openid in ("oA", "oB"):
        note(recorder, "subscribe", openid, EventKey="qrscene_poster-7")
    scan(recorder, "Poster-7")
    note(recorder, "subscribe", EventKey="qrscene_门店🏪")
    written(recorder)
    assert counts() == {"poster-7": (3, 2), "Poster-7": (1, 0), "门店🏪": (0, 1)}
    with transaction() as session:
        old = session.scalar(select(SceneCount).where(SceneCount.day == "2026-02-17"))
    assert old
    assert (old.scans, old.follows) == (5, 5)


def test_what_is_no_scan_and_no_follow_by_a_code_is_not_counted(store: Flask, recorder: Recorder) -> None:
    note(recorder, "subscribe", EventKey="")
    note(recorder, "subscribe")
    note(recorder, "CLICK", EventKey="V1001_TODAY")
    note(recorder, "user_scan_product", Scene="2")
    scan(recorder)
    written(recorder)
    assert counts() == {"poster-7": (1, 0)}


def test_accounts_are_counted_apart(store: Flask, recorder: Recorder) -> None:
    other = Recorder(store, "wx0000000000000000")
    for each in (recorder, other, other):
        scan(each)
        written(each)
    assert (counts(), counts("wx0000000000000000")) == ({"poster-7": (1, 0)}, {"poster-7": (2, 0)})


@pytest.mark.parametrize(
    ("event", "fields"),
    [("unsubscribe", {}), ("user_authorization_revoke", {"OpenID": "oA"}), ("user_authorization_revoke", {})],
    ids=["unsubscribe", "revoke", "revoke without OpenID"],
)
def test_one_who_leaves_is_gone_when_the_answer_is_given(
    store: Flask, recorder: Recorder, event: str, fields: dict[str, str]
) -> None:
    for openid in ("oA", "oB", "oa"):
        keep_fan(APPID, openid, {"nickname": openid})
    keep_fan("wx0000000000000000", "oA", {})
    assert seconds_of(recorder, event, **fields) < 1.5
    assert find_fan(APPID, "oA") is None
    assert find_fan(APPID, "oB")
    assert find_fan(APPID, "oa")
    assert find_fan("wx0000000000000000", "oA")


def test_a_revocation_that_names_the_fan_beside_the_sender_is_meant_for_both(store: Flask, recorder: Recorder) -> None:
    keep_fan(APPID, "oB", {})
    note(recorder, "user_authorization_revoke", "oA", OpenID="oB")
    assert find_fan(APPID, "oB") is None


def test_one_who_is_not_known_may_leave_and_one_who_stays_is_kept(store: Flask, recorder: Recorder) -> None:
    keep_fan(APPID, "oA", {})
    note(recorder, "unsubscribe", "oB")
    note(recorder, "user_info_modified", OpenID="oA")
    written(recorder)
    assert find_fan(APPID, "oA")


def test_many_leave_and_scan_at_once(store: Flask, recorder: Recorder) -> None:
    for number in range(20):
        keep_fan(APPID, f"o{number}", {})
    leaving = [lambda number=number: note(recorder, "unsubscribe", f"o{number}") for number in range(20)]
    together(store, leaving + [lambda: scan(recorder)] * 20)
    assert not any(find_fan(APPID, f"o{number}") for number in range(20))
    written(recorder)
    assert counts() == {"poster-7": (20, 0)}


def test_processes_that_count_the_same_new_scenes_at_once_lose_none(
    store: Flask, processes: ProcessPoolExecutor
) -> None:
    url = db.engine.url.render_as_string(hide_password=False)
    list(processes.map(_scan_in_a_process, [url, url]))
    assert counts() == {"a": (60, 0), "b": (60, 0)}


def test_threads_that_count_many_new_scenes_in_any_order_lose_none(
    store: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    recorders = [Recorder(store, APPID) for _ in range(4)]
    scenes = [f"scene {number}" for number in range(30)]

    def scan_all(number: int) -> None:
        for scene in (scenes[number * 7 :] + scenes[: number * 7])[:: 1 if number % 2 else -1]:
            scan(recorders[number], scene)

    together(store, [lambda number=number: scan_all(number) for number in range(4)] * 3)
    for recorder in recorders:
        written(recorder)
    assert counts() == dict.fromkeys(scenes, (12, 0))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_what_is_rolled_back_is_counted_once(store: Flask, recorder: Recorder) -> None:
    with transaction() as session:  # another process is first, and not yet done
        session.add(SceneCount(appid=APPID, scene="b", day=time.strftime("%Y-%m-%d"), scans=1, follows=0))
        session.flush()
        for scene in "abc":
            scan(recorder, scene)
        wait_for(lambda: len(recorder._writing))
        for scene in "abc":
            scan(recorder, scene)
    written(recorder)
    assert counts() == {"a": (2, 0), "b": (3, 0), "c": (2, 0)}


@pytest.mark.parametrize("server", ["mysql"], indirect=True)
def test_while_the_server_is_dead_a_scan_waits_for_nothing_and_all_is_written_later(
    server: DatabaseServer, store_on_server: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(store_on_server, APPID)
    keep_fan(APPID, "oA", {})
    scan(recorder)
    written(recorder)
    server.kill()
    assert [seconds_of(recorder, "SCAN", EventKey="poster-7") < 0.3 for _ in range(20)] == [True] * 20
    assert 1.5 < seconds_of(recorder, "unsubscribe") < 2.5
    server.start()
    scan(recorder, "after")
    written(recorder)
    assert counts() == {"poster-7": (21, 0), "after": (1, 0)}
    assert find_fan(APPID, "oA") is None
    assert "not recorded yet, tried again in 1 s: the database fails: OperationalError" in caplog.text
    assert "p@ss" not in caplog.text


def test_while_the_server_stands_still_a_scan_waits_for_nothing_and_all_is_written_when_it_goes_on(
    server: DatabaseServer, store_on_server: Flask
) -> None:
    recorder = Recorder(store_on_server, APPID)
    keep_fan(APPID, "oA", {})
    server.stand_still()
    assert [seconds_of(recorder, "SCAN", EventKey="poster-7") < 0.3 for _ in range(20)] == [True] * 20
    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(seconds_of, recorder, "unsubscribe")
        wait_for(lambda: "oA" in recorder._gone())
        assert not leaving.done()
        server.go_on()
        assert leaving.result() < 1.5
    assert find_fan(APPID, "oA") is None
    written(recorder)
    assert counts() == {"poster-7": (20, 0)}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_more_than_so_much_does_not_wait_for_the_database(
    store: Flask, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.store.recorder._MOST_PENDING", 2)
    keep_fan(APPID, "oA", {})
    with transaction() as session:
        session.execute(delete(SceneCount))
        scan(recorder, "being written")
        wait_for(lambda: len(recorder._writing))
        for scene in ("1", "2", "3"):
            scan(recorder, scene)
        assert seconds_of(recorder, "unsubscribe") < 0.3
    written(recorder)
    assert set(counts()) == {"being written", "1", "2"}
    assert find_fan(APPID, "oA")
    assert caplog.text.count("too much waits for the database") == 2


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
def test_more_who_leave_than_one_statement_can_name_are_forgotten(store: Flask, recorder: Recorder) -> None:
    with transaction() as session:
        for number in (0, 69_999, 70_000):
            session.add(Fan(appid=APPID, openid=f"o{number}", first_login_at=1, last_login_at=1))
    recorder._add(lambda pending: pending.gone.update({f"o{number}": 2 for number in range(70_000)}))
    written(recorder)
    assert [bool(find_fan(APPID, f"o{number}")) for number in (0, 69_999, 70_000)] == [False, False, True]


def test_a_fan_who_has_come_back_since_is_not_forgotten(store: Flask, recorder: Recorder) -> None:
    keep_fan(APPID, "oA", {})
    recorder._add(lambda pending: pending.gone.update(oA=int(time.time()) - 60))  # it has waited for the database
    written(recorder)
    assert find_fan(APPID, "oA")


def test_an_error_that_nobody_thought_of_ends_no_recording(
    store: Flask, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, failures = recorder._write, [TypeError("odd")]

    def fail_once() -> None:
        if failures:
            raise failures.pop()
        write()

    monkeypatch.setattr(recorder, "_write", fail_once)
    scan(recorder)
    written(recorder)
    assert counts() == {"poster-7": (1, 0)}
    assert "TypeError: odd" in caplog.text


def test_a_follow_by_a_products_barcode_is_no_scene(store: Flask, recorder: Recorder) -> None:
    note(recorder, "subscribe", EventKey="scanbarcode|EAN|1234")
    note(recorder, "subscribe", EventKey="qrscene_a")
    written(recorder)
    assert counts() == {"a": (0, 1)}
