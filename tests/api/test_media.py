"""Temporary media: what is uploaded, once in three days, and what is refused before any call."""

import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from wechatpy.replies import ImageReply, VoiceReply

from app.api import get_client, image, media, media_id, send, voice
from app.api.client import Client
from app.cache import Cache
from app.errors import ApiError
from tests.servers import wait_for
from tests.wechat_server import WeChatServer

UPLOAD_PATH = "/cgi-bin/media/upload"
DAY = 86400
PNG, JPEG, GIF, BMP = b"\x89PNG\r\n\x1a\n" + b"\0" * 20, b"\xff\xd8\xff\xe0\0\x10JFIF", b"GIF89a" + b"\0" * 9, b"BM6\0"
AMR, MP3, BARE_MP3 = b"#!AMR\n\x04", b"ID3\x03\0\0\0", b"\xff\xfb\x90\x64"
MP4 = b"\0\0\0\x18ftypmp42"
WAV, WEBP, AAC = b"RIFF$\0\0\0WAVEfmt ", b"RIFF$\0\0\0WEBPVP8 ", b"\xff\xf1\x50\x80"
HEIC, M4A, MOV = b"\0\0\0\x24ftypheic", b"\0\0\0\x20ftypM4A ", b"\0\0\0\x14ftypqt  "


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(PNG)
    return path


def let_pass(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the time be later, for the service and for WeChat."""
    before = time.time
    monkeypatch.setattr("app.api.media.time.time", lambda: before() + seconds)


def content_at_wechat(of: str) -> bytes:
    content: bytes = get_client().media.download(of).content
    return content


def test_many_threads_upload_a_file_once(app: Flask, server: WeChatServer, picture: Path) -> None:
    server.wechat.fail(UPLOAD_PATH, "stall", seconds=0.3, times=1)

    def run(_: int) -> str:
        with app.app_context():
            return media_id(picture)

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(run, range(20)))) == 1
    assert server.calls_of(UPLOAD_PATH) == [0]


def test_processes_that_share_a_cache_upload_a_file_once(
    server: WeChatServer, cache: Cache, new_client: Callable[..., Client], picture: Path
) -> None:
    server.wechat.fail(UPLOAD_PATH, "stall", seconds=0.3, times=1)
    with ThreadPoolExecutor(2) as pool:
        ids = list(pool.map(lambda client: media.upload(client, cache, picture), [new_client(), new_client()]))
    assert media.upload(new_client(), cache, picture) == ids[0] == ids[1]
    assert server.calls_of(UPLOAD_PATH) == [0]


def test_a_file_is_uploaded_again_before_wechat_forgets_it(
    app: Flask, server: WeChatServer, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        first = media_id(picture)
        let_pass(monkeypatch, 3 * DAY - 3600 - 300)
        assert [media_id(picture) for _ in range(3)] == [first] * 3
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("renew")]
        let_pass(monkeypatch, 200)
        assert media_id(picture) == first  # while another is fetched
        second = wait_for(lambda: (now := media_id(picture)) != first and now, what="another media_id")
        assert server.calls_of(UPLOAD_PATH) == [0, 0]
        assert content_at_wechat(first) == content_at_wechat(second) == PNG


def test_a_file_that_nobody_sent_for_days_is_uploaded_first(
    app: Flask, server: WeChatServer, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        first = media_id(picture)
        let_pass(monkeypatch, 3 * DAY - 3500)
        second = media_id(picture)
        assert second != first
        let_pass(monkeypatch, 3600)
        assert server.calls_of(UPLOAD_PATH) == [0, 0]
        assert content_at_wechat(second) == PNG
        with pytest.raises(ApiError, match="40007"):
            content_at_wechat(first)


def test_what_counts_is_the_content_and_not_the_name(app: Flask, server: WeChatServer, picture: Path) -> None:
    with app.app_context():
        first = media_id(picture)
        copied = shutil.copy(picture, picture.with_name("另一个 名字.jpg"))
        assert media_id(str(copied)) == first
        picture.write_bytes(GIF)
        changed = media_id(picture)
        assert changed != first
        assert content_at_wechat(changed) == GIF
        picture.write_bytes(PNG)
        assert media_id(picture) == first
    assert server.calls_of(UPLOAD_PATH) == [0, 0]


@pytest.mark.parametrize(
    ("make", "kind", "name", "content"),
    [
        (image, ImageReply, "图 片.png", PNG),
        (image, ImageReply, "a", JPEG),
        (voice, VoiceReply, "语音.amr", AMR),
        (voice, VoiceReply, "a.mp3", MP3),
    ],
)
def test_a_reply_holds_what_wechat_has(
    make: Callable[[Path], ImageReply | VoiceReply],
    kind: type[ImageReply | VoiceReply],
    name: str,
    content: bytes,
    app: Flask,
    server: WeChatServer,
    tmp_path: Path,
) -> None:
    (tmp_path / name).write_bytes(content)
    with app.app_context():
        reply = make(tmp_path / name)
        assert type(reply) is kind
        assert content_at_wechat(reply.media_id) == content


@pytest.mark.parametrize(
    ("content", "media_type", "ending"),
    [
        *((PNG, "image", "png"), (JPEG, "image", "jpg"), (GIF, "image", "gif"), (BMP, "image", "bmp")),
        *((AMR, "voice", "amr"), (MP3, "voice", "mp3"), (BARE_MP3, "voice", "mp3"), (MP4, "video", "mp4")),
    ],
    ids=str,
)
def test_the_content_says_the_type_whatever_the_name(
    content: bytes, media_type: str, ending: str, app: Flask, server: WeChatServer, tmp_path: Path
) -> None:
    path = tmp_path / "文件.txt"
    path.write_bytes(content)
    with app.app_context():
        made = media_id(path)
    assert [call["query"]["type"] for call in server.wechat.calls if call["path"] == UPLOAD_PATH] == [media_type]
    kept = server.wechat.state.media(made)
    assert kept
    assert re.fullmatch(rf"[\w.]+\.{ending}", kept[0], re.ASCII)  # WeChat looks at it
    assert kept[1] == content


def test_a_thumb_is_asked_for_by_name_and_another_thing_than_the_image(
    app: Flask, server: WeChatServer, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    with app.app_context():
        assert len({media_id(path, "thumb"), media_id(path), media_id(path, "thumb"), media_id(path, "image")}) == 2
    assert [call["query"]["type"] for call in server.wechat.calls if call["path"] == UPLOAD_PATH] == ["thumb", "image"]


@pytest.mark.parametrize(
    ("media_type", "begins", "most", "expected"),
    [
        ("image", PNG, 10 << 20, "at most 10 MB"),
        ("voice", AMR, 2 << 20, "at most 2 MB"),
        ("video", MP4, 10 << 20, "at most 10 MB"),
        ("thumb", JPEG, 64 << 10, "at most 64 KB"),
    ],
)
def test_a_file_may_be_as_long_as_wechat_takes_and_no_byte_longer(
    media_type: str, begins: bytes, most: int, expected: str, app: Flask, server: WeChatServer, tmp_path: Path
) -> None:
    path = tmp_path / "long.bin"
    with app.app_context():
        path.write_bytes(begins.ljust(most + 1, b"\0"))
        with pytest.raises(ValueError, match=rf"long\.bin is \w+, {most + 1} bytes; expected .*{expected}"):
            media_id(path, media_type)
        assert server.wechat.calls == []
        path.write_bytes(begins.ljust(most, b"\0"))
        assert media_id(path, media_type)


@pytest.mark.parametrize(
    ("content", "media_type", "expected"),
    [
        (b"", None, "image: a PNG"),
        (b"", "image", "a PNG, JPEG, GIF or BMP"),
        ("你好".encode(), None, "image: a PNG"),
        (WAV, "voice", "an AMR or MP3"),
        (AAC, "voice", "an AMR or MP3"),
        (WEBP, "image", "a PNG, JPEG, GIF or BMP"),
        (PNG, "voice", "an AMR or MP3"),
        (MP3, "image", "a PNG, JPEG, GIF or BMP"),
        (PNG, "thumb", "a JPEG"),
        (MP3, "video", "an MP4"),
        (HEIC, None, "image: a PNG"),
        (M4A, None, "image: a PNG"),
        (MOV, "video", "an MP4"),
    ],
)
def test_a_file_that_wechat_would_refuse_is_refused_before_any_call(
    content: bytes, media_type: str | None, expected: str, app: Flask, server: WeChatServer, tmp_path: Path
) -> None:
    path = tmp_path / "某个文件.png"
    path.write_bytes(content)
    with app.app_context(), pytest.raises(ValueError, match=rf"{re.escape(str(path))} is .*expected .*{expected}"):
        media_id(path, media_type)
    assert server.wechat.calls == []


def test_a_type_that_wechat_does_not_know_is_named(app: Flask, server: WeChatServer, picture: Path) -> None:
    expected = "media_type is 'png'; expected one of image, voice, video, thumb"
    with app.app_context(), pytest.raises(ValueError, match=expected):
        media_id(picture, "png")
    assert server.wechat.calls == []


@pytest.mark.parametrize("name", ["folder", "没有.png"])
def test_a_folder_and_a_file_that_is_not_there_are_named(
    name: str, app: Flask, server: WeChatServer, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    with app.app_context(), pytest.raises(OSError, match=name):
        image(tmp_path / name)
    assert server.wechat.calls == []


def test_a_refusal_is_remembered_for_a_moment_and_the_next_upload_goes_well(
    app: Flask, server: WeChatServer, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.wechat.fail(UPLOAD_PATH, errcode=40004)
    with app.app_context():
        for _ in range(3):
            with pytest.raises(ApiError, match="40004"):
                media_id(picture)
        assert server.calls_of(UPLOAD_PATH) == [40004]
        monkeypatch.setattr("app.api.kept._FAILED_SECONDS", -1)
        picture.write_bytes(GIF)
        with pytest.raises(ApiError, match="40004"):
            media_id(picture)
        server.wechat.heal()
        assert content_at_wechat(media_id(picture)) == GIF


def forget_files(server: WeChatServer) -> None:
    """Let WeChat know no temporary file any more."""
    with server.wechat.state.changed() as account:
        account["media"] = {}


@pytest.mark.parametrize("how", ["send", "client", "nested"])
def test_a_kept_file_that_wechat_has_forgotten_is_uploaded_anew_once(
    how: str, app: Flask, server: WeChatServer, picture: Path
) -> None:
    server.wechat.heard("oFan")
    with app.app_context():
        reply = image(picture)
        forget_files(server)
        if how == "send":
            assert send("oFan", reply) == 1
        elif how == "client":
            get_client().message.send_image("oFan", reply.media_id)
        else:
            server.wechat.fail("/cgi-bin/draft/add", errcode=40007, times=1)
            get_client().draft.add([{"title": "t", "content": "c", "thumb_media_id": reply.media_id}])
        assert server.calls_of(UPLOAD_PATH) == [0, 0]
        assert media_id(picture) != reply.media_id
        assert content_at_wechat(media_id(picture)) == PNG
    if how != "nested":
        assert server.wechat.messages[-1]["image"]["media_id"] != reply.media_id


def test_a_file_that_wechat_refuses_ever_again_costs_one_upload_more(
    app: Flask, server: WeChatServer, picture: Path
) -> None:
    server.wechat.fail("/cgi-bin/message/custom/send", errcode=40007)
    with app.app_context():
        for _ in range(3):
            with pytest.raises(ApiError, match="40007"):
                send("oFan", image(picture))
    assert server.calls_of(UPLOAD_PATH) == [0, 0]


@pytest.mark.parametrize("becomes", [GIF, None])
def test_a_file_that_is_another_now_is_not_uploaded_in_its_place(
    becomes: bytes | None, app: Flask, server: WeChatServer, picture: Path
) -> None:
    with app.app_context():
        reply = image(picture)
        forget_files(server)
        picture.write_bytes(becomes) if becomes else picture.unlink()
        server.wechat.heard("oFan")
        with pytest.raises(ApiError, match="40007"):
            send("oFan", reply)
    assert server.calls_of(UPLOAD_PATH) == [0]


def test_an_id_that_is_not_kept_here_is_refused_as_it_is(app: Flask, server: WeChatServer) -> None:
    server.wechat.fail("/cgi-bin/message/custom/send", errcode=40007)
    with app.app_context(), pytest.raises(ApiError, match="40007"):
        send("oFan", ImageReply(media_id="theirs"))
    assert server.calls_of(UPLOAD_PATH) == []
    assert server.calls_of("/cgi-bin/message/custom/send") == [40007]
