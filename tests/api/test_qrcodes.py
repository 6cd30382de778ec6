"""QR codes: each is asked for once, by whoever wants it, and drawn here."""

import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import segno
from flask import Flask

from app import create_app
from app.api import create_qrcode
from app.api.qrcodes import QrCode
from app.config import Settings
from app.errors import ApiError
from app.store import db, transaction
from app.store.models import QrCode as Row
from app.store.qrcodes import Wanted, claim_code, keep_code
from tests.servers import APPID, environment
from tests.wechat_server import WeChatServer

CREATE_PATH = "/cgi-bin/qrcode/create"
DAYS_30 = 2592000
Matrix = list[list[bool]]


@pytest.fixture(autouse=True)
def _context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


def let_pass(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the time be later, for the service and for WeChat."""
    before = time.time
    monkeypatch.setattr("app.api.qrcodes.time.time", lambda: before() + seconds)


def asked(server: WeChatServer) -> list[dict[str, Any]]:
    """Return the JSON of every code that WeChat was asked for."""
    return [call["body"] for call in server.wechat.calls if call["path"] == CREATE_PATH]


def claimed(scene: str, seconds_ago: int) -> None:
    """Let somebody have claimed the code and said no more."""
    then = int(time.time()) - seconds_ago
    wanted = Wanted(APPID, "str", scene, 0)
    with transaction() as session:
        session.add(Row(**wanted._asdict(), claim="somebody", claimed_at=then, created_at=then, ends_at=0))


def test_a_permanent_code_is_asked_for_once_by_all_services_on_a_database(
    app: Flask, server: WeChatServer, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create_qrcode("门店 1")
    assert first == ("门店 1", first.ticket, first.url, 0, 0)
    assert server.wechat.state.records("call")[-1]["path"] == CREATE_PATH
    let_pass(monkeypatch, 10 * 365 * 86400)
    assert create_qrcode("门店 1") == first
    other = create_app(settings(WECHAT_DATABASE_URL=app.config["WECHAT_DATABASE_URL"], **server.settings))
    with other.app_context():
        assert create_qrcode("门店 1") == first
        db.engine.dispose()
    assert server.calls_of(CREATE_PATH) == [0]


@pytest.mark.parametrize(
    ("scene", "expire_seconds", "body"),
    [
        (1, None, {"action_name": "QR_LIMIT_SCENE", "action_info": {"scene": {"scene_id": 1}}}),
        (100_000, None, {"action_name": "QR_LIMIT_SCENE", "action_info": {"scene": {"scene_id": 100_000}}}),
        ("门" * 64, None, {"action_name": "QR_LIMIT_STR_SCENE", "action_info": {"scene": {"scene_str": "门" * 64}}}),
        (2**32 - 1, 1, {"action_name": "QR_SCENE", "action_info": {"scene": {"scene_id": 2**32 - 1}}}),
        ("a b", DAYS_30, {"action_name": "QR_STR_SCENE", "action_info": {"scene": {"scene_str": "a b"}}}),
    ],
    ids=["1", "100000", "64 characters", "2**32 - 1", "inner space"],
)
def test_wechat_is_asked_for_what_is_wanted(
    scene: int | str, expire_seconds: int | None, body: dict[str, Any], server: WeChatServer
) -> None:
    now = int(time.time())
    code = create_qrcode(scene, expire_seconds)
    assert asked(server) == [body | ({"expire_seconds": expire_seconds} if expire_seconds else {})]
    assert server.wechat.state.records("call")[-1]["errcode"] == 0
    assert (code.scene, code.expire_seconds) == (scene, expire_seconds or 0)
    assert code.ends_at == 0 if expire_seconds is None else 0 <= code.ends_at - now - expire_seconds <= 5
    with server.wechat.state.changed() as account:
        assert account["qrcodes"] == {code.ticket: code.url}


@pytest.mark.parametrize(("expire_seconds", "margin_seconds"), [(600, 60), (86400, 300), (DAYS_30, 300)])
def test_a_temporary_code_is_handed_out_until_shortly_before_its_end_and_then_made_anew(
    expire_seconds: int, margin_seconds: int, server: WeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create_qrcode("poster", expire_seconds)
    let_pass(monkeypatch, expire_seconds - margin_seconds - 10)
    assert create_qrcode("poster", expire_seconds) == first
    let_pass(monkeypatch, 15)
    second = create_qrcode("poster", expire_seconds)
    assert second.ticket != first.ticket
    assert -5 < second.ends_at - expire_seconds - time.time() <= 0
    let_pass(monkeypatch, 60)
    assert create_qrcode("poster", expire_seconds) == second
    assert server.calls_of(CREATE_PATH) == [0, 0]


def test_codes_that_differ_in_type_or_time_are_different(server: WeChatServer) -> None:
    wanted: list[tuple[int | str, int | None]] = [(7, None), ("7", None), (7, 60), ("7", 60), (7, 120), ("A", 60)]
    wanted.append(("a", 60))
    made = [create_qrcode(*each) for each in wanted]
    assert len({code.ticket for code in made}) == len(wanted)
    assert [(code.scene, code.expire_seconds or None) for code in made] == wanted
    assert [create_qrcode(*each) for each in wanted] == made
    assert server.calls_of(CREATE_PATH) == [0] * len(wanted)


@pytest.mark.parametrize(
    "scene",
    [0, -1, 100_001, "", "a" * 65, " a", "a\u3000", " ", "a\tb", "a\nb", "\0", "a\u200b", True, 1.0, None, b"a"],
)
def test_a_wrong_scene_is_named_before_any_call(scene: Any, server: WeChatServer) -> None:
    with pytest.raises(ValueError, match=r"^scene is .*; expected .*"):
        create_qrcode(scene)
    assert server.wechat.calls == []


@pytest.mark.parametrize("scene", [0, 2**32, True, "", "a" * 65])
def test_a_wrong_scene_of_a_temporary_code_is_named_before_any_call(scene: Any, server: WeChatServer) -> None:
    with pytest.raises(ValueError, match=r"^scene is .*; expected .*"):
        create_qrcode(scene, 60)
    assert server.wechat.calls == []


@pytest.mark.parametrize("expire_seconds", [0, -1, DAYS_30 + 1, "60", True, False, 60.0])
def test_a_wrong_time_is_named_before_any_call(expire_seconds: Any, server: WeChatServer) -> None:
    with pytest.raises(ValueError, match=r"^expire_seconds is .*; expected .*"):
        create_qrcode("poster", expire_seconds)
    assert server.wechat.calls == []


@pytest.mark.parametrize(("kind", "errcode"), [("errcode", 45009), ("errcode", 40053), ("cut", None), ("html", None)])
def test_after_a_call_that_failed_the_next_one_asks_again(
    kind: str, errcode: int | None, server: WeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.wechat.fail(CREATE_PATH, kind, errcode=errcode or 0)
    with pytest.raises(ApiError) as failed:
        create_qrcode("poster")
    assert failed.value.errcode == errcode
    assert len(server.calls_of(CREATE_PATH)) == 1
    with transaction() as session:
        assert [(row.claim, row.ticket) for row in session.query(Row)] == [(None, None)]
    server.wechat.heal()
    let_pass(monkeypatch, 31)  # after a used-up quota, calls pause
    assert create_qrcode("poster").ticket
    assert len(server.calls_of(CREATE_PATH)) == 2


def test_who_died_while_asking_stands_in_nobodys_way(server: WeChatServer) -> None:
    claimed("poster", 61)
    started = time.monotonic()
    assert create_qrcode("poster") == create_qrcode("poster")
    assert server.calls_of(CREATE_PATH) == [0]
    assert time.monotonic() - started < 5


def test_who_finds_that_another_asks_waits_for_the_code(app: Flask, server: WeChatServer) -> None:
    wanted = Wanted(APPID, "str", "poster", 0)
    claim = claim_code(wanted)
    assert claim

    def run(_: int) -> QrCode:
        with app.app_context():
            return create_qrcode("poster")

    with ThreadPoolExecutor(5) as pool:
        waiting = pool.map(run, range(5))
        keep_code(wanted, claim, "theirs", "http://weixin.qq.com/q/theirs", 0)
        assert list(waiting) == [("poster", "theirs", "http://weixin.qq.com/q/theirs", 0, 0)] * 5
    assert server.wechat.calls == []


def test_who_waits_too_long_gives_up(server: WeChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed("poster", 5)
    monkeypatch.setattr("app.api.qrcodes._WAIT_SECONDS", 0.2)
    with pytest.raises(ApiError, match="'poster': somebody else") as failed:
        create_qrcode("poster")
    assert failed.value.errcode is None
    assert server.wechat.calls == []


def test_of_twenty_processes_one_asks_and_all_have_its_code(app: Flask, server: WeChatServer, tmp_path: Path) -> None:
    server.wechat.fail(CREATE_PATH, "stall", seconds=0.5, times=1)
    env = environment(WECHAT_DATABASE_URL=app.config["WECHAT_DATABASE_URL"], **server.settings)
    env["WECHAT_CACHE_URL"] = "memory://"  # each has its own: the database is all that they share
    command = [sys.executable, "-m", "tests.api.qrcode_process", "门店 1", "20"]
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 0, ended.stderr
    said = [line.split() for line in ended.stdout.splitlines()]
    assert len({process for process, _ in said}) == len(said) == 20
    assert {ticket for _, ticket in said} == {create_qrcode("门店 1").ticket}
    assert server.calls_of(CREATE_PATH) == [0]


def png_matrix(picture: bytes, scale: int) -> Matrix:
    """Return which dots of a black and white PNG are dark."""
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(picture):
        (length,) = struct.unpack(">I", picture[at : at + 4])
        chunks[picture[at + 4 : at + 8]] = picture[at + 8 : at + 8 + length]
        at += 12 + length
    width, height, depth, color = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (width, depth, color) == (height, 1, 0)
    packed, step = zlib.decompress(chunks[b"IDAT"]), 1 + (width + 7) // 8
    rows, above = [], bytes(step - 1)
    for at in range(0, height * step, step):
        assert packed[at] in (0, 2)  # as it is, or what is added to the line above
        line = packed[at + 1 : at + step]
        above = bytes((x + y) % 256 for x, y in zip(line, above, strict=True)) if packed[at] else line
        rows.append([not above[x // 8] >> (7 - x % 8) & 1 for x in range(0, width, scale)])
    return rows[::scale]


def svg_matrix(picture: bytes) -> Matrix:
    """Return which dots of segno's SVG are dark: one path of lines to the right."""
    root = ElementTree.fromstring(picture)
    (path,) = root.iter("{http://www.w3.org/2000/svg}path")
    size = int(root.attrib["width"]) // 10
    matrix, x, y = [[False] * size for _ in range(size)], 0.0, 0.0
    for command, first, second in re.findall(r"([Mmh])(-?[\d.]+)(?:[ ,]?(-?[\d.]+))?", path.attrib["d"]):
        if command == "h":
            for dot in range(int(first)):
                matrix[int(y)][int(x) + dot] = True
            x += int(first)
        else:
            x, y = (float(first), float(second)) if command == "M" else (x + float(first), y + float(second))
    return matrix


@pytest.mark.parametrize("scene", ["门店 1", 7])
def test_the_pictures_say_the_url_and_are_drawn_without_a_call(scene: int | str, server: WeChatServer) -> None:
    code = create_qrcode(scene)
    calls = len(server.wechat.calls)
    assert code.url.startswith("http://weixin.qq.com/q/")
    expected = segno.make(code.url, error="m", micro=False)
    dots = [[bool(dot) for dot in row] for row in expected.matrix_iter(scale=1, border=4)]
    assert png_matrix(code.png(), 10) == png_matrix(code.png(scale=3), 3) == svg_matrix(code.svg()) == dots
    assert len(server.wechat.calls) == calls
