"""api.weixin.qq.com, played locally, on a free port: the sandbox's own, as a server for tests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from app.sandbox.api import sandbox_api
from app.sandbox.wechat import WeChat
from tests.servers import APPID

APPSECRET = "5ecret5ecret5ecret5ecret5ecret00"


class WeChatServer(NamedTuple):
    """The account ``wechat`` and the address of its API."""

    wechat: WeChat
    url: str

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a service for this account."""
        return {"WECHAT_APPID": APPID, "WECHAT_APPSECRET": APPSECRET, "WECHAT_API_BASE_URL": self.url}

    def calls_of(self, path: str) -> list[int]:
        """Return the errcode of each call of ``path`` so far."""
        return [call["errcode"] for call in self.wechat.calls if call["path"] == path]


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve_app(get_app: Callable[[], Callable[..., Any]], host: str = "127.0.0.1") -> Iterator[int]:
    """Serve what ``get_app`` returns, asked at the first request, on a free port of ``host``, and yield the port."""
    server: BaseWSGIServer = make_server(
        host, 0, lambda *request: get_app()(*request), threaded=True, request_handler=_Quiet
    )
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def wechat_server(folder: Path, host: str = "127.0.0.1") -> Iterator[WeChatServer]:
    """Run it while the context is entered; ``folder`` gets what the account remembers.

    At another ``host``, whoever reaches it is taken for this machine itself, for which alone the sandbox plays.
    """
    wechat = WeChat(APPID, APPSECRET, folder / "played.db")
    app = Flask("sandbox", static_folder=None)
    app.register_blueprint(sandbox_api(wechat))

    def nearby(environ: dict[str, Any], start_response: Any) -> Any:
        here = {"HTTP_HOST": "127.0.0.1", "REMOTE_ADDR": "127.0.0.1"} if host != "127.0.0.1" else {}
        return app({**environ, **here}, start_response)

    with serve_app(lambda: nearby, host) as port:
        yield WeChatServer(wechat, f"http://{host}:{port}")
