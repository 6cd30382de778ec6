"""The customer-service API of WeChat, played locally, and the call of it by the server under load."""

import json
import threading
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

_PATH = "/cgi-bin/message/custom/send"
_TIMEOUT_SECONDS = 5


class CustomerService(ThreadingHTTPServer):
    """Accepts messages on a free port of 127.0.0.1 while the context is entered, or refuses them with ``errcode``.

    ``messages`` are the accepted ones, (openid, content), in the order in which they came.
    """

    request_queue_size = 1024  # of the standard library's 5, a load loses some
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.errcode = 0
        self.messages: list[tuple[str, str]] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """Return what stands for https://api.weixin.qq.com."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def accept(self, body: bytes) -> int:
        """Record the message in the JSON ``body`` and return WeChat's errcode for it, 0 for accepted."""
        # https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Service_Center_messages.html
        if self.errcode:
            return self.errcode
        try:
            message = json.loads(body)
            if message["msgtype"] != "text":
                return 40008
            self.messages.append((str(message["touser"]), str(message["text"]["content"])))
        except (ValueError, KeyError, TypeError):
            return 47001
        return 0


class _Handler(BaseHTTPRequestHandler):
    server: CustomerService

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(self.path)
        if url.path != _PATH:
            self.send_error(404)
            return
        errcode = self.server.accept(body) if parse_qs(url.query).get("access_token") else 41001
        answer = json.dumps({"errcode": errcode, "errmsg": "refused" if errcode else "ok"}, separators=(",", ":"))
        self.send_response(200)
        self.send_header("Content-Type", "application/json; encoding=utf-8")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def post_text(base_url: str, openid: str, content: str) -> None:
    """Send ``content`` to the fan.

    Raises RuntimeError when it is refused, OSError or HTTPException when nobody answers.
    """
    message = {"touser": openid, "msgtype": "text", "text": {"content": content}}
    # As the API wants it: UTF-8, not escaped, or the fan reads the escapes.
    body = json.dumps(message, ensure_ascii=False).encode()
    # A session of requests that is made for one message costs four times the CPU, which the service would be short of.
    with closing(HTTPConnection(urlsplit(base_url).netloc, timeout=_TIMEOUT_SECONDS)) as http:
        http.request("POST", f"{_PATH}?access_token=load", body)
        answer = http.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"the customer-service message was answered with status {answer.status}")
        errcode = json.load(answer)["errcode"]
    if errcode:
        raise RuntimeError(f"the customer-service message was refused with errcode {errcode}")
