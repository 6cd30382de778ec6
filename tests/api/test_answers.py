"""What WeChat, or a proxy before it, may answer, and what comes of it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, jsonify, request
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from app.api import get_api
from app.api.client import Client
from app.cache import connect
from app.config import Settings
from app.errors import ApiError
from app.sandbox.login import return_address
from app.store.fans import delete_fan, find_fan, keep_fan
from tests.servers import APPID
from tests.wechat_server import APPSECRET, WeChatServer, serve_app

TOKEN = '{"access_token": "a-token", "expires_in": 7200}'


@pytest.fixture
def answering(settings: Callable[..., Settings]) -> Iterator[Callable[[Response], Client]]:
    """Return a function that gives a client of an API which answers every call so, but gives a token."""
    said: list[Response] = []
    api = Flask("api", static_folder=None)
    clients = []

    @api.route("/<path:path>", methods=["GET", "POST"])
    def answer(path: str) -> Response:
        return Response(TOKEN, content_type="application/json") if path.endswith("stable_token") else said[0]

    with serve_app(lambda: api) as port:

        def make(response: Response) -> Client:
            said[:] = [response]
            given = {"WECHAT_APPID": APPID, "WECHAT_APPSECRET": APPSECRET}
            url = f"http://127.0.0.1:{port}"
            clients.append(Client(settings(WECHAT_API_BASE_URL=url, **given), connect("memory://", APPID)))
            return clients[-1]

        yield make
        for client in clients:
            client._http.close()


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (502, '{"message": "upstream is down"}', "application/json"),
        (302, '{"message": "moved"}', "application/json"),
        (200, '{"errcode": "abc"}', "application/json"),
        (200, '{"errcode": 1e999}', "application/json"),
        (200, '{"errcode": [1]}', "application/json"),
        (200, "[" * 100_000, "application/json"),
        (200, "[1]", "application/json"),
        (200, "", "application/json"),
        (200, "<html></html>", "text/html"),
        (200, "\xff", "text/plain"),
        (500, "", ""),
    ],
)
def test_what_is_no_answer_of_wechat_is_an_api_error(
    status: int, body: str, content_type: str, answering: Callable[[Response], Client]
) -> None:
    client = answering(Response(body, status, content_type=content_type, headers={"Location": "/elsewhere"}))
    with pytest.raises(ApiError) as failed:
        client.message.send_text("oFan", "hi")
    assert failed.value.errcode is None


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream", ""])
@pytest.mark.parametrize(
    "body", ['{"errcode": 0, "x": 1}', '\ufeff{"base_resp": null, "x": 1}', '{"errcode": "0", "x": 1}']
)
def test_json_is_read_whatever_it_is_called(
    body: str, content_type: str, answering: Callable[[Response], Client]
) -> None:
    said = answering(Response(body, content_type=content_type)).get("anything")
    assert (said["x"], said["errcode"]) == (1, 0)


def test_what_a_device_call_answers_is_an_error_too(answering: Callable[[Response], Client]) -> None:
    body = '{"base_resp": {"errcode": 100002, "errmsg": "data format error"}}'
    with pytest.raises(ApiError, match="100002"):
        answering(Response(body, content_type="application/json")).get("anything")


LABELS = ["image/jpeg", "text/plain", "application/json", "text/html; charset=GBK", "application/javascript", ""]


@pytest.mark.parametrize("label", LABELS)
def test_a_file_comes_back_in_one_call_whatever_wechat_labels_it(
    label: str, server: WeChatServer, client: Client
) -> None:
    server.wechat.set(label=label)
    kept = client.media.upload("voice", ("a.amr", b"#!AMR\n\x04\xff"))["media_id"]
    material = client.material.add("image", ("a.jpg", b"\xff\xd8\xff"))["media_id"]
    assert client.media.download(kept).content == b"#!AMR\n\x04\xff"
    assert client.material.get(material).content == b"\xff\xd8\xff"
    assert server.calls_of("/cgi-bin/media/get") == server.calls_of("/cgi-bin/material/get_material") == [0]


JSON_LIKE = st.sampled_from([b"", b"{}", b"[1]", b"5", b"null", b'"x"', b"{", b"[" * 100_000, b'{"a": 1}', b"\xff{}"])
JSON_LIKE |= st.sampled_from(
    [b'{"errcode": "x"}', b'\xff{"errcode": 40007}', b'[{"errcode": 40007}]', b"<html></html>"]
)


@given(st.binary() | st.text().map(str.encode) | JSON_LIKE, st.sampled_from(LABELS))
@hypothesis(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_come_back_whole(answering: Callable[[Response], Client], content: bytes, label: str) -> None:
    assume(not content.lstrip().startswith(b'{"errcode":') or b'"x"' in content)
    client = answering(Response(content, content_type=label))
    assert client.media.download("m").content == content
    assert client.material.get("m").content == content
    client._http.close()


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("before", ["", " \r\n", "\ufeff"])
def test_an_error_in_place_of_a_file_is_one_whatever_its_label(
    before: str, label: str, answering: Callable[[Response], Client]
) -> None:
    client = answering(Response(before + '{"errcode": 40007, "errmsg": "invalid media_id"}', content_type=label))
    with pytest.raises(ApiError, match="40007"):
        client.media.download("m")
    with pytest.raises(ApiError, match="40007"):
        client.material.get("m")


def test_what_is_said_in_place_of_a_file_is_read(client: Client) -> None:
    video = client.media.upload("video", ("a.mp4", b"\0\0\0\x18ftypmp42"))["media_id"]
    assert client.media.download(video)["video_url"].endswith(".mp4")


def test_a_file_of_a_call_that_nobody_knows_is_known_by_its_disposition(
    answering: Callable[[Response], Client],
) -> None:
    picture = Response(b"\x89PNG", content_type="text/plain", headers={"Content-disposition": "attachment"})
    assert answering(picture).get("new/call").content == b"\x89PNG"
    with pytest.raises(ApiError, match="no JSON"):
        answering(Response(b"\x89PNG", content_type="application/octet-stream")).message.send_text("oFan", "hi")


@pytest.mark.parametrize("body", ["[1]", '{"access_token": ""}', '{"access_token": "x", "expires_in": 0}', "\x89PNG"])
def test_a_token_that_is_none_is_an_api_error(body: str, settings: Callable[..., Settings]) -> None:
    api = Flask("api", static_folder=None)
    api.add_url_rule("/<path:path>", methods=["POST"], view_func=lambda path: Response(body, content_type="x/y"))
    with serve_app(lambda: api) as port:
        url = f"http://127.0.0.1:{port}"
        given = settings(WECHAT_APPID=APPID, WECHAT_APPSECRET=APPSECRET, WECHAT_API_BASE_URL=url)
        client = Client(given, connect("memory://", APPID))
        with pytest.raises(ApiError):
            client.access_token  # noqa: B018
        client._http.close()


def test_an_upload_that_is_made_again_with_another_token_is_whole(server: WeChatServer, new_client: Any) -> None:
    client: Client = new_client()
    client.access_token  # noqa: B018
    server.wechat.revoke_token()
    media_id = client.media.upload("image", ("a.png", b"the whole picture"))["media_id"]
    kept = server.wechat.state.media(media_id)
    assert kept is not None
    assert kept[1] == b"the whole picture"


def test_wechatpys_calls_with_parameters_of_every_kind_are_made(server: WeChatServer, new_client: Any) -> None:
    client: Client = new_client()
    with pytest.raises(ApiError, match="40066"):
        client.customservice.delete_account("a@b")
    with pytest.raises(ApiError, match="40066"):
        client.card.get_html("c")
    assert next(call["query"] for call in server.wechat.calls if "kfaccount" in call["path"])["kf_account"] == "a@b"


@pytest.mark.parametrize(("path", "status"), [("/takes", 204), ("/stalls", None), ("/refuses", None)])
def test_a_storage_is_not_waited_for_for_ever(
    path: str, status: int | None, settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.calls._UPLOAD_TIMEOUT_SECONDS", (1, 0.2))
    api, go_on, got = Flask("api", static_folder=None), threading.Event(), []

    @api.post("/<path:place>")
    def answer(place: str) -> Response:
        if place.endswith("stable_token"):
            return Response(TOKEN, content_type="application/json")
        if place == "tcb/uploadfile":
            said = {"url": f"{request.host_url}{path[1:]}", "authorization": "s", "token": "t", "cos_file_id": "c"}
            return jsonify(said)
        got.append(request.files["file"].read())
        if place == "stalls":
            go_on.wait(10)
        return Response(status=403 if place == "refuses" else 204)

    (tmp_path / "x").write_bytes(b"content")
    with serve_app(lambda: api) as port:
        given = {"WECHAT_APPID": APPID, "WECHAT_APPSECRET": APPSECRET}
        url = f"http://127.0.0.1:{port}"
        client = Client(settings(WECHAT_API_BASE_URL=url, **given), connect("memory://", APPID))
        if status:
            assert client.cloud.upload_file("env", str(tmp_path / "x")).status_code == status
        else:
            with pytest.raises(ApiError, match="storage"):
                client.cloud.upload_file("env", str(tmp_path / "x"))
        go_on.set()
        client._http.close()
    assert got == [b"content"]


@given(st.text(st.characters(exclude_categories=())) | st.sampled_from(["ab\ud83d", "\ude00\ud83d", "a\0b"]))
@hypothesis(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_nickname_is_read_kept_and_shown(server: WeChatServer, app: Flask, nickname: str) -> None:
    server.wechat.set(nickname=nickname)
    query = {"appid": APPID, "redirect_uri": "https://wx.example.com/", "response_type": "code"}
    address = return_address(server.wechat, {**query, "scope": "snsapi_userinfo"}, "oFan")
    given = {"appid": APPID, "secret": APPSECRET, "code": address.partition("code=")[2].partition("&")[0]}
    with app.app_context():
        client = get_api().client
        token = client.without_token("get", "/sns/oauth2/access_token", params=given)["access_token"]
        said = client.without_token("get", "/sns/userinfo", params={"access_token": token, "openid": "oFan"})
        assert said["nickname"].encode().decode() == said["nickname"]
        delete_fan(APPID, "oFan")
        keep_fan(APPID, "oFan", said)
        found = find_fan(APPID, "oFan")
        assert found
        assert app.jinja_env.from_string("{{ name }}").render(name=found.nickname).encode()
        assert (found.nickname or "") == said["nickname"][:255]
    if nickname == "ab\ud83d":
        assert found.nickname == "ab\ufffd"
