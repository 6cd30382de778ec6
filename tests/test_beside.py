"""What create_app wires beside the road: late answers by WeChat's API, counts and leavers in the database."""

import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app import create_app
from app.api import create_qrcode, get_api, get_client, image, send
from app.config import Settings
from app.errors import ConfigError
from app.sandbox.messages import event_message, text_message
from app.sandbox.phone import Phone
from app.store import db
from app.store.fans import find_fan, keep_fan
from app.store.qrcodes import codes
from tests.servers import APPID, TOKEN, wait_for
from tests.wechat_server import WeChatServer

FAN = "oFanBeside000000000000000000"
PNG = b"\x89PNG\r\n\x1a\n picture"


@pytest.fixture
def open_app(
    server: WeChatServer, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Flask]]:
    apps = []

    def make(handlers: Any, **more: str) -> Flask:
        module = types.ModuleType("handlers_beside")
        vars(module).update(HANDLERS=handlers)
        monkeypatch.setitem(sys.modules, "handlers_beside", module)
        apps.append(create_app(settings(**{**server.settings, "WECHAT_HANDLERS": "handlers_beside", **more})))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["wechat_recorder"]._write = lambda: None  # it would try for ever
        with app.app_context():
            db.engine.dispose()
            get_api().client._http.close()


def deliver(app: Flask, message: str) -> TestResponse:
    query, body = Phone("", TOKEN, FAN).envelope(message)
    return app.test_client().post("/wechat", query_string=query, data=body)


def slow_handler(answer: str) -> tuple[threading.Event, Callable[[Any], str]]:
    """Return a handler that answers only after the event is set."""
    finish = threading.Event()

    def slow(message: Any) -> str:
        finish.wait(30)
        return answer

    return finish, slow


def test_a_late_answer_comes_by_itself_as_a_customer_service_message(
    open_app: Callable[..., Flask], server: WeChatServer
) -> None:
    finish, slow = slow_handler("长文" * 700)
    app = open_app({"text": slow}, WECHAT_DELIVERIES="1")
    server.wechat.heard(FAN)
    assert deliver(app, text_message(FAN, "question")).data == b"success"
    assert server.wechat.messages == []
    finish.set()
    wait_for(lambda: len(server.wechat.messages) == 3, what="three parts")
    assert "".join(part["text"]["content"] for part in server.wechat.messages) == "长文" * 700


def test_an_answer_that_wechat_refuses_waits_for_the_pickup_word(
    open_app: Callable[..., Flask], server: WeChatServer
) -> None:
    finish, slow = slow_handler("the answer")
    app = open_app({("text", "question"): slow, "text": lambda message: "nothing waits"}, WECHAT_DELIVERIES="1")
    deliver(app, text_message(FAN, "question"))
    finish.set()
    wait_for(lambda: server.calls_of("/cgi-bin/message/custom/send") == [45015])
    wait_for(lambda: "the answer" in deliver(app, text_message(FAN, "1")).text)
    assert server.wechat.messages == []


def test_a_handler_sends_messages_and_pictures(
    open_app: Callable[..., Flask], server: WeChatServer, tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_bytes(PNG)

    def handler(message: Any) -> Any:
        send(message.openid, "first")
        return image(tmp_path / "x.png")

    app = open_app({"text": handler})
    server.wechat.heard(FAN)
    reply = deliver(app, text_message(FAN, "hi")).text
    assert server.wechat.messages[0]["text"] == {"content": "first"}
    media_id = reply.partition("<MediaId><![CDATA[")[2].partition("]]>")[0]
    assert server.wechat.state.media(media_id) is not None


def test_what_a_fan_does_opens_the_window_before_the_handler_runs(open_app: Callable[..., Flask]) -> None:
    left = []
    app = open_app({"*": lambda message: left.append(get_api().budget.left(message.openid))})
    deliver(app, event_message(FAN, "click", "K"))
    deliver(app, text_message(FAN, "hi"))
    assert left == [3, 8]


def test_scans_and_follows_are_counted_by_scene(open_app: Callable[..., Flask], server: WeChatServer) -> None:
    app = open_app({"*": lambda message: None})
    with app.app_context():
        create_qrcode("poster-7")
    for event in ("scan", "subscribe"):
        deliver(app, event_message(FAN, event, scene="poster-7"))

    def counted() -> bool:
        with app.app_context():
            return [(scans, follows) for _, scans, follows in codes(APPID)] == [(1, 1)]

    assert wait_for(counted)


@pytest.mark.parametrize("event", ["unsubscribe", "user_authorization_revoke"])
def test_who_leaves_is_deleted_although_the_handler_fails(event: str, open_app: Callable[..., Flask]) -> None:
    app = open_app({"*": lambda message: 1 / 0})
    with app.app_context():
        keep_fan(APPID, FAN, {"nickname": "三"})
        deliver(app, event_message(FAN, event))
        assert find_fan(APPID, FAN) is None


@pytest.mark.parametrize("event", ["scan", "unsubscribe"])
def test_the_callback_answers_with_the_database_down(
    event: str, open_app: Callable[..., Flask], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = open_app({"*": lambda message: "answered"}, WECHAT_DATABASE_URL="mysql://u:p@127.0.0.1:1/wechat")
    scene = "7" if event == "scan" else None
    assert "answered" in deliver(app, event_message(FAN, event, scene=scene)).text
    wait_for(lambda: "not recorded yet" in caplog.text)


def test_something_beside_that_fails_costs_no_answer(
    open_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = open_app({"*": lambda message: "answered"})
    monkeypatch.setattr(app.extensions["wechat_api"].budget, "_cache", None)
    assert "answered" in deliver(app, text_message(FAN, "hi")).text
    assert "is not noted" in caplog.text


def test_without_a_secret_the_api_says_what_is_missing(
    settings: Callable[..., Settings],
) -> None:
    app = create_app(settings())
    with app.app_context(), pytest.raises(ConfigError, match="WECHAT_APPID and WECHAT_APPSECRET"):
        send(FAN, "hi")


def test_a_fork_gets_a_client_of_its_own(open_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    with open_app({"*": print}).app_context():
        before = get_client()
        assert get_client() is before
        monkeypatch.setattr("app.api.os.getpid", lambda: 1)
        assert get_client() is not before
        assert get_client()._http is not before._http
        before._http.close()


def test_two_revocations_in_one_second_are_two_fans(open_app: Callable[..., Flask]) -> None:
    app = open_app({"*": lambda message: None})
    event = event_message("oPushService0000000000000000", "user_authorization_revoke")
    with app.app_context():
        for openid in ("oOne", "oTwo"):
            keep_fan(APPID, openid, {})
            app.extensions["wechat_api"].cache.fans.set(f"{APPID}:session:{openid}", '{"a":1}', 60)
            deliver(app, event.replace("</xml>", f"<OpenID>{openid}</OpenID></xml>"))
            assert find_fan(APPID, openid) is None
            assert app.extensions["wechat_api"].cache.fans.get(f"{APPID}:session:{openid}") is None
