"""The WSGI applications that are measured: ours with an echo that uses the session, and what it is compared with."""

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, request
from werobot import WeRoBot
from werobot.contrib.flask import make_view

# ---- ours: WECHAT_HANDLERS=tests.bench.contenders


def echo(message: Any) -> str:
    message.session["count"] = message.session.get("count", 0) + 1
    return str(message.content)


HANDLERS = {
    "text": echo,
    ("text", "帮助"): echo,
    ("text", re.compile(r"天气\s*(?P<city>\S+)")): echo,
    ("event", "subscribe"): echo,
    "event": echo,
    "*": echo,
}

# ---- the neighbours


def bare_wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


bare_flask = Flask("bare", static_folder=None)


@bare_flask.route("/wechat", methods=["GET", "POST"])
def bare() -> Response:
    return Response(request.get_data(), mimetype="application/xml")


robot = WeRoBot()
robot.config.update(
    TOKEN=os.environ["WECHAT_TOKEN"],
    SESSION_STORAGE=False,
    APP_ID=os.environ.get("WECHAT_APPID"),
    ENCODING_AES_KEY=os.environ.get("WECHAT_ENCODING_AES_KEY"),
)
robot.use_encryption = os.environ.get("WECHAT_ENCRYPT_MODE") == "safe"


@robot.text  # type: ignore[untyped-decorator]
def werobot_echo(message: Any) -> str:
    return str(message.content)


werobot = Flask("werobot", static_folder=None)
werobot.add_url_rule("/wechat", view_func=make_view(robot), methods=["GET", "POST"])
