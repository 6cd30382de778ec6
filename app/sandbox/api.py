"""api.weixin.qq.com, played locally: the routes, and the one place where a refusal becomes WeChat's JSON."""

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, abort, redirect, render_template_string, request

from app.config import SANDBOX_API_PATH, Settings
from app.near import is_near
from app.sandbox.endpoints import ENDPOINTS, WITHOUT_TOKEN
from app.sandbox.login import OPENID, check_page, return_address
from app.sandbox.site import phone_site
from app.sandbox.wechat import Call, Refusal, WeChat
from app.table.dispatch import Table

STATE_FILE = Path("instance/sandbox.db")
_AUTHORIZE = "/connect/oauth2/authorize"
_SECRET_NAMES = ("access_token", "secret")
_HTML = "<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"
_PAGE = """<!doctype html><html lang="zh"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>微信登录（本地模拟）</title><body style="font-family:sans-serif;max-width:24em;margin:2em auto;padding:0 1em">
<h1 style="font-size:1.2em">微信登录（本地模拟）<br><small>WeChat login, played locally</small></h1>
<p>“{{ openid }}” 允许此公众号获取昵称、头像？</p>
<form method="post">{% for name, value in query.items() %}<input type="hidden" name="{{ name }}" value="{{ value }}">
{% endfor %}<button name="choice" value="allow">允许 / Allow</button>
<button name="choice" value="snapshot">快照页用户 / As a snapshot user</button>
<button name="choice" value="refuse">拒绝 / Refuse</button></form></body></html>"""


def mount_sandbox(app: Flask, settings: Settings, table: Table) -> None:
    """Play WeChat for the account of ``settings`` in ``app`` itself: its API, and its fans' phones."""
    wechat = WeChat(settings.appid, settings.appsecret, STATE_FILE)
    app.register_blueprint(sandbox_api(wechat), url_prefix=SANDBOX_API_PATH)
    app.register_blueprint(phone_site(settings, table, wechat))


def sandbox_api(wechat: WeChat) -> Blueprint:
    """Return the API of the account ``wechat`` as a blueprint, for this machine alone."""
    blueprint = Blueprint("sandbox_api", __name__)

    @blueprint.before_request
    def local_only() -> None:
        if not is_near(request.environ) or _is_of_another_site():
            abort(403)

    @blueprint.route("/<path:path>", methods=["GET", "POST"])
    def call(path: str) -> Response:
        return _answered(wechat, _call(f"/{path}"))

    @blueprint.route(_AUTHORIZE, methods=["GET", "POST"])
    def authorize() -> Any:
        return _authorize(wechat)

    return blueprint


def _is_of_another_site() -> bool:
    """Tell whether a page of another site calls: it could use up a fault. Programs say neither header.

    A picture's address is asked for without Origin. To WeChat's page for the login, other sites do lead.
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
    if origin is not None:
        return origin.partition("://")[2] != request.host
    return site not in ("none", "same-origin") and not request.path.endswith(_AUTHORIZE)


def _call(path: str) -> Call:
    raw = request.get_data(cache=True) if not request.files else b""
    body = request.get_json(force=True, silent=True) if raw else {}
    files = {name: (file.filename or "", file.read()) for name, file in request.files.items()}
    query, form = request.args.to_dict(), request.form.to_dict() if files else {}
    return Call(request.method, path, query, body if isinstance(body, dict) else {}, raw, files, form)


def _answered(wechat: WeChat, call: Call) -> Response:
    rid, errcode, errmsg = f"{int(time.time()):x}-{time.monotonic_ns():x}", 0, "ok"
    fault = wechat.fault(call.path)
    try:
        answer = _played(fault) or _answer(wechat, call)
    except Refusal as refusal:
        errcode, errmsg = refusal.errcode, f"{refusal.errmsg} rid: {rid}"
        answer = {}
    body = {name: "***" if name in _SECRET_NAMES else value for name, value in call.body.items()}
    query = {name: "***" if name in _SECRET_NAMES else value for name, value in call.query.items()}
    said = {"method": call.method, "path": call.path, "query": query, "body": body}
    wechat.state.add("call", {**said, "errcode": errcode, "errmsg": errmsg, "rid": rid})
    if fault and fault["kind"] == "cut":
        _cut()
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, tuple):
        content, content_type, name = answer
        return Response(content, content_type=content_type, headers=_attached(name) if name else None)
    text = json.dumps({"errcode": errcode, "errmsg": errmsg} | answer, ensure_ascii=False)
    text = "".join(char if not "\ud800" <= char <= "\udfff" else f"\\u{ord(char):x}" for char in text)  # as WeChat does
    return Response(text, content_type="application/json; encoding=utf-8")


def _attached(name: str) -> dict[str, str]:
    return {"Content-disposition": f'attachment; filename="{name}"'}


def _answer(wechat: WeChat, call: Call) -> Any:
    endpoint = ENDPOINTS.get((call.method, call.path))
    if endpoint is None:
        raise Refusal(40066, f"the sandbox does not play {call.method} {call.path}")
    with wechat.state.changed() as account:
        if call.path not in WITHOUT_TOKEN:
            wechat.check_token(account, call.query.get("access_token", ""))
        wechat.count(account, call.path)
        answer = endpoint(wechat, account, call)
        unsaid = account.pop("unsaid", {})
    if "kind" in unsaid:
        wechat.state.add(unsaid["kind"], unsaid["data"])
    elif "media" in unsaid:
        media_id, media_type, name = unsaid["media"]
        wechat.state.keep_media(media_id, media_type, name, call.files["media"][1])
    return answer


def _played(fault: dict[str, Any] | None) -> Response | None:
    """Play the fault of this call, if there is one."""
    if fault is None:
        return None
    time.sleep(fault["seconds"])
    if fault["kind"] == "errcode":
        raise Refusal(fault["errcode"], fault.get("errmsg") or "asked for")
    if fault["kind"] in ("stall", "cut"):  # the call is made, and a cut is nobody's answer to it
        return None
    return Response(_HTML, status=502, content_type="text/html")


def _cut() -> None:
    """Break the connection without an answer."""
    connection = request.environ.get("werkzeug.socket")
    if connection is None and "uwsgi" in sys.modules:
        connection = socket.socket(fileno=sys.modules["uwsgi"].connection_fd())
        connection.shutdown(socket.SHUT_RDWR)
        connection.detach()  # uWSGI closes it
    elif connection is not None:
        connection.shutdown(socket.SHUT_RDWR)


def _authorize(wechat: WeChat) -> Any:
    query = request.values.to_dict()
    choice = query.pop("choice", "")
    openid = request.cookies.get("sandbox_openid", OPENID)
    try:
        check_page(wechat, query)
        if choice == "refuse":
            return Response("已取消 / Cancelled", content_type="text/plain; charset=utf-8")
        if choice or query["scope"] == "snsapi_base":  # silently
            return redirect(return_address(wechat, query, openid, snapshot=choice == "snapshot"))
    except Refusal as refusal:
        return Response(f"{refusal.errmsg} ({refusal.errcode})", 400, content_type="text/plain; charset=utf-8")
    return render_template_string(_PAGE, query=query, openid=openid)
