"""Secret and tokens stay out of exceptions, tracebacks and the log, whatever goes wrong."""

import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

import log
from app.api import create_qrcode, get_api, image, send
from app.errors import ApiError
from tests.wechat_server import APPSECRET, WeChatServer

TOKEN_PATH, OAUTH_PATH = "/cgi-bin/stable_token", "/sns/oauth2/access_token"
FAULTS = ["cut", "html", "stall", "errcode -1", "errcode 40001", "errcode 40164", "errcode 45009", "quoting", "nobody"]


def oauth() -> None:
    client = get_api().client
    given = {"appid": client.appid, "secret": client.secret, "code": "c0de", "grant_type": "authorization_code"}
    client.without_token("get", f"https://api.weixin.qq.com{OAUTH_PATH}", params=given)


def upload() -> None:
    file = {"media": ("a.png", b"x")}
    get_api().client.post("media/upload", params={"type": "image"}, files=file, timeout=(1, 0.2))


DONE: dict[str, Callable[[], Any]] = {
    "call": lambda: get_api().client.get_api_quota("/x"),
    "menu": lambda: get_api().client.menu.create({"button": []}),
    "message": lambda: send("oFan", "你好"),
    "code": lambda: create_qrcode("poster"),
    "upload": upload,
    "ticket": lambda: get_api().client.jsapi_ticket,
    "oauth": oauth,
    "picture": lambda: get_api().client.qrcode.show("t"),
    "image": lambda: image("/nowhere.png"),
}


@pytest.fixture
def faulty(app: Flask, server: WeChatServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that makes every call of WeChat go wrong."""
    monkeypatch.setattr("app.api.calls._PAUSES_SECONDS", (0.01, 0.01))

    def begin(fault: str) -> None:
        kind, _, errcode = fault.partition(" ")
        client = app.extensions["wechat_api"].client
        monkeypatch.setattr("app.api.calls._TIMEOUT_SECONDS", (1, 0.2))
        if kind == "nobody":
            client._calls.base_url = "http://127.0.0.1:1"
        elif kind == "quoting":  # WeChat puts what it was given into its text
            with server.wechat.state.changed() as account:
                token = account.get("token", {}).get("value", "")
                errmsg = f"bad secret {APPSECRET} or token {token} of {token}: rid: 1-2-3"
                account["faults"] = [
                    {"path": "*", "kind": "errcode", "errcode": 40013, "errmsg": errmsg, "left": None, "seconds": 0}
                ]
        else:
            server.wechat.fail("*", kind, errcode=int(errcode or 0), seconds=0.5)

    yield begin
    server.wechat.heal()


def chain(error: BaseException | None) -> str:
    """Return everything that can be printed of an exception and of all that led to it."""
    found = []
    while error is not None:
        found += [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(found)


@pytest.mark.parametrize("is_cold", [True, False], ids=["cold", "warm"])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_shows_a_secret(
    fault: str,
    is_cold: bool,
    app: Flask,
    server: WeChatServer,
    faulty: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    log.configure("DEBUG", "text")  # without a list of secrets to mask
    caplog.set_level(logging.DEBUG)
    said = []
    with app.app_context():
        token = "" if is_cold else app.extensions["wechat_api"].client.access_token
        faulty(fault)
        for name, do in DONE.items():
            with pytest.raises((ApiError, OSError)) as failed:
                do()
            said.append(chain(failed.value))
            logging.getLogger("a.handler").error("%s failed", name, exc_info=failed.value)
    raw = [record.getMessage() for record in caplog.records]
    everything = "\n".join([*said, *raw, *capfd.readouterr()])
    with server.wechat.state.changed() as account:
        token = token or account.get("token", {}).get("value", "no token was fetched")
    assert "failed" in everything
    assert APPSECRET not in everything
    assert token not in everything
    assert "c0de" not in everything
