"""The door of the fan's browser: login by WeChat for pages that need to know who looks at them."""

import base64
import functools
import logging
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from flask import Blueprint, Flask, Response, abort, current_app, g, redirect, request, session, url_for

from app.api import get_api
from app.api.client import Client
from app.cache import to_json
from app.config import Settings
from app.errors import ApiError, StoreError
from app.store.fans import find_fan, keep_fan

BASE, USERINFO = "snsapi_base", "snsapi_userinfo"
_AUTHORIZE_URL = "https://open.weixin.qq.com"
_AUTHORIZE_PATH = "/connect/oauth2/authorize"
_API = "https://api.weixin.qq.com"
_LOGIN_SECONDS = 900
_MOST_LOGINS = 5  # at once, in the tabs of one browser
_MOST_COOKIE_CHARACTERS, _MOST_PATH_CHARACTERS = 2000, 1500
_RANDOM_BYTES, _MOST_STATE_CHARACTERS = 16, 128
_DECLINED = "authdeny"  # in place of a code
# A path on this site, and no second slash that would make it another's; browsers take \ for /.
_OWN_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
# The code is wrong, used, missing or expired: a new login helps.
_USED_CODE = 40163
_BAD_CODE = (40029, _USED_CODE, 41008, 42003)
_PAGE = """<!doctype html><html lang="zh"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><body style="font-family:sans-serif;max-width:24em;margin:3em auto;padding:0 1em">
<p>{text}</p></body></html>"""
logger = logging.getLogger("wechat.oauth")


class LoggedIn(NamedTuple):
    """The fan who looks at the page, in ``g.fan``; what the scope or WeChat did not tell is None.

    A snapshot user looks at a page without having agreed to anything: the openid is a virtual one, and is not kept.
    """

    openid: str
    is_snapshotuser: bool = False
    unionid: str | None = None
    nickname: str | None = None
    headimgurl: str | None = None


def add_login(app: Flask, settings: Settings) -> None:
    """Put ``/oauth/login`` and ``/oauth/callback`` on ``app``."""
    pages = Blueprint("oauth", __name__, url_prefix="/oauth")
    pages.add_url_rule("/login", view_func=login)
    pages.add_url_rule("/callback", view_func=callback)
    pages.after_request(_kept_by_nobody)
    app.register_blueprint(pages)
    if settings.sandbox:
        app.add_url_rule("/sandbox/me", view_func=openid_required(USERINFO)(_me))


def openid_required(scope: str = BASE) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a page be seen by fans who are logged in, as ``g.fan``; others are sent to log in and come back.

    ``scope`` is snsapi_base (the openid, without asking) or snsapi_userinfo (nickname and picture, WeChat asks).
    A request that is no GET is answered with 401 instead.
    """
    if scope not in (BASE, USERINFO):
        raise ValueError(f"scope is {scope!r}; expected {BASE} or {USERINFO}")

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            g.fan = _fan(scope)
            if g.fan is not None:
                return view(*args, **kwargs)
            if request.method not in ("GET", "HEAD"):
                abort(401)
            return redirect(url_for("oauth.login", next=_here(), scope=scope))

        return guarded

    return decorate


def login() -> Any:
    """GET /oauth/login?next=PATH&scope=SCOPE: send the browser to WeChat."""
    settings = get_api().settings
    target, scope = request.args.get("next", "/"), request.args.get("scope", BASE)
    if target.startswith(f"{settings.public_url}/"):
        target = target[len(settings.public_url) :]
    if (
        not _OWN_PATH.fullmatch(target)
        or len(target) > _MOST_PATH_CHARACTERS
        or target.startswith(url_for("oauth.login").removesuffix("login"))
    ):
        return _page(400, "next 不是本站的地址 / next must be a path of this site")
    if scope not in (BASE, USERINFO):
        return _page(400, f"scope 只能是 {BASE} 或 {USERINFO} / scope must be one of the two")
    missing = [
        name for name in ("WECHAT_APPID", "WECHAT_APPSECRET", "WECHAT_PUBLIC_URL") if not current_app.config[name]
    ]
    if missing:
        logger.error("nobody can log in: %s missing", " and ".join(missing))
        return _page(503, "登录尚未配置 / login is not set up")
    return _to_wechat(settings, target, scope, again=request.args.get("again") == "1")


def callback() -> Any:
    """GET /oauth/callback?code=CODE&state=STATE: log the fan in whom WeChat sends back, and go on to the page.

    What has begun and ended is in the browser's cookie; the cache keeps a state once WeChat has taken a code with it.
    """
    api, state, code = get_api(), request.args.get("state", ""), request.args.get("code", "")
    begun = session.get("logins", {}).get(state)
    target, scope, since = begun or (*_carried(state), 0)
    is_again = state.startswith("1")
    if not code or code == _DECLINED:
        _end(state)
        return _page(403, "你取消了登录 / you did not log in", target, scope)
    if time.time() - since > _LOGIN_SECONDS:
        return redirect(target) if begun and "fan" in session else _once_more(target, scope, is_again)
    try:
        fan, kept_scope = _ask(api.client, code)
        mine = to_json(secrets.token_hex(6))
        if api.cache.fans.claim(api.cache.key("oauth", state), mine, _LOGIN_SECONDS) != mine:  # by a copy of the cookie
            return _once_more(target, scope, is_again)
        if not fan.is_snapshotuser:
            keep_fan(api.settings.account, fan.openid, fan._asdict())
    except ApiError as error:
        logger.warning("a login failed: %s", error)
        if error.errcode != _USED_CODE:  # else the page was loaded twice at once: the cookie is the other's
            _end(state)
        if error.errcode in _BAD_CODE:
            return _once_more(target, scope, is_again)
        return _page(503, "微信暂时没有回应，请重试 / WeChat does not answer just now", target, scope)
    except StoreError as error:
        logger.error("a login failed: %s", error)
        return _page(503, "暂时无法登录，请稍后重试 / nobody can log in just now", target, scope)
    if scope == USERINFO != kept_scope and not fan.is_snapshotuser:
        return _page(403, "微信没有给出昵称和头像 / WeChat did not tell the name and picture", target, scope)
    known_scope = scope if fan.is_snapshotuser else kept_scope  # of whom there is no more to be known
    session["fan"] = {"openid": fan.openid, "scope": known_scope, "snapshot": fan.is_snapshotuser}
    session["logins"] = {**session["logins"], state: [target, scope, 0]}  # for who loads this page again
    session.permanent = True
    return redirect(target)


def _to_wechat(settings: Settings, target: str, scope: str, *, again: bool) -> Any:
    # https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
    way_back = f"{settings.public_url}{url_for('oauth.callback')}"
    state = _state(target, scope, again=again)
    if len(state) > _MOST_STATE_CHARACTERS:
        state = _state("", scope, again=again)
        way_back += f"?{urlencode({'next': target})}"
    logins = [*session.get("logins", {}).items(), (state, [target, scope, int(time.time())])][-_MOST_LOGINS:]
    while len(logins) > 1 and len(to_json(logins)) > _MOST_COOKIE_CHARACTERS:  # browsers take 4096, all in all
        logins.pop(0)
    session["logins"] = dict(logins)
    query = {  # in this order: WeChat's page is particular about it
        "appid": settings.appid,
        "redirect_uri": way_back,
        "response_type": "code",
        "scope": scope,
        "state": state,
    }
    base = settings.api_base_url if settings.sandbox else _AUTHORIZE_URL
    return redirect(f"{base}{_AUTHORIZE_PATH}?{urlencode(query, quote_via=quote, safe='')}#wechat_redirect")


def _state(target: str, scope: str, *, again: bool) -> str:
    """Return a new state: letters and digits, as WeChat wants it, which say where the browser wanted to go."""
    carried = base64.b32encode(target.encode()).decode().rstrip("=").lower()
    return f"{int(again)}{int(scope == USERINFO)}{secrets.token_hex(_RANDOM_BYTES)}{carried}"


def _carried(state: str) -> tuple[str, str]:
    """Return page and scope of a login whose cookie is not here: a snapshot page has cookies of its own.

    Nobody vouches for them; all that is done with them is to begin a new login.
    """
    scope = USERINFO if state[1:2] == "1" else BASE
    carried = state[2 + 2 * _RANDOM_BYTES :].upper()
    target = request.args.get("next", "")
    with suppress(ValueError):
        target = target or base64.b32decode(carried + "=" * (-len(carried) % 8)).decode()
    return target or "/", scope


def _end(state: str) -> None:
    """Take the login out of the cookie: its state has been used."""
    session["logins"] = {one: login for one, login in session.get("logins", {}).items() if one != state}


def _once_more(target: str, scope: str, is_again: bool) -> Any:
    """Start a clean new login, once: a browser that takes no cookies would go round for ever."""
    if is_again:
        return _page(403, "登录失败，请确认允许 Cookie 后重试 / the login failed; are cookies allowed?", target, scope)
    return redirect(url_for("oauth.login", next=target, scope=scope, again="1"))


def _ask(client: Client, code: str) -> tuple[LoggedIn, str]:
    """Return the fan whom ``code`` stands for, and the scope. Raises ApiError."""
    given = {"appid": client.appid, "secret": client.secret, "code": code, "grant_type": "authorization_code"}
    said = client.without_token("get", f"{_API}/sns/oauth2/access_token", params=given)
    if not isinstance(said, dict):
        raise ApiError(None, "WeChat's answer is no JSON")
    scopes = str(said.get("scope", BASE)).split(",")  # WeChat ends it with a comma, sometimes
    scope = USERINFO if USERINFO in scopes else BASE
    openid, is_snapshot = str(said.get("openid", "")), said.get("is_snapshotuser") == 1
    if not openid:
        raise ApiError(None, "WeChat's answer holds no openid")
    profile = {}
    if scope == USERINFO and not is_snapshot:  # whose profile WeChat does not tell
        wanted = {"access_token": said["access_token"], "openid": openid, "lang": "zh_CN"}
        profile = client.without_token("get", f"{_API}/sns/userinfo", params=wanted)
    known = {name: profile.get(name) or said.get(name) for name in ("unionid", "nickname", "headimgurl")}
    return LoggedIn(openid, is_snapshot, **known), scope


def _fan(scope: str) -> LoggedIn | None:
    """Return the fan who is logged in with at least ``scope``, and has not left since."""
    known = session.get("fan")
    if not known or (scope == USERINFO and known["scope"] != USERINFO):
        return None
    if known["snapshot"]:
        return LoggedIn(known["openid"], is_snapshotuser=True)
    try:
        row = find_fan(get_api().settings.account, known["openid"])
    except StoreError as error:
        logger.error("a page for fans cannot be shown: %s", error)
        abort(503)
    return LoggedIn(row.openid, False, row.unionid, row.nickname, row.headimgurl) if row else None


def _page(status: int, text: str, target: str = "", scope: str = BASE) -> Response:
    if target:
        again = url_for("oauth.login", next=target, scope=scope).replace("&", "&amp;").replace('"', "&quot;")
        text += f'</p><p><a href="{again}">重新登录 / log in again</a>'
    return Response(_PAGE.format(title="登录", text=text), status, content_type="text/html; charset=utf-8")


def _kept_by_nobody(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"  # the address holds the code
    return response


def _me() -> Response:
    """GET /sandbox/me: what a page knows of the fan, to try the login with."""
    return Response("".join(f"{name}: {value}\n" for name, value in g.fan._asdict().items()), mimetype="text/plain")


def _here() -> str:
    """Return the path of the page that is asked for, quoted as it came."""
    path = quote(request.script_root + request.path, safe="/~!$&'()*+,;=:@")
    query = request.query_string.decode("latin-1")
    return f"{path}?{query}" if query else path
