"""The page on which a fan lets the account know who they are, and the calls that turn its code into the fan."""

import hashlib
import re
import secrets
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

from app.sandbox.wechat import Answer, Call, Refusal, WeChat

OPENID = "oFanInTheShell00000000000000"
"""The fan who writes and logs in where no other is named."""
_CODE_SECONDS = 300
_SCOPES = ("snsapi_base", "snsapi_userinfo")


def return_address(wechat: WeChat, query: dict[str, str], openid: str, *, snapshot: bool = False) -> str:
    """Make a code for the fan and return the address, with code and state, to which the browser is sent.

    Raises Refusal for what WeChat's page would show an error for.
    """
    # https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/Wechat_webpage_authorization.html
    check_page(wechat, query)
    code = secrets.token_hex(16)
    made = {"openid": openid, "scope": query["scope"], "ends": time.time() + _CODE_SECONDS}
    with wechat.state.changed() as account:
        account.setdefault("codes", {})[code] = {**made, "snapshot": snapshot, "used": False}
    joint = "&" if urlsplit(query["redirect_uri"]).query else "?"
    return f"{query['redirect_uri']}{joint}{urlencode({'code': code, 'state': query.get('state', '')})}"


def check_page(wechat: WeChat, query: dict[str, str]) -> None:
    """Raise the Refusal of a wrong authorize address."""
    if query.get("appid") != wechat.appid:
        raise Refusal(10013, "appid error")
    if query.get("scope") not in _SCOPES or query.get("response_type") != "code":
        raise Refusal(10005, "scope error")
    if urlsplit(query.get("redirect_uri", "")).scheme not in ("http", "https"):
        raise Refusal(10003, "redirect_uri error")
    if not re.fullmatch(r"[a-zA-Z0-9]{0,128}", query.get("state", "")):
        raise Refusal(10009, "state error")


def oauth_token(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /sns/oauth2/access_token: each code once, within 5 minutes."""
    if call.query.get("appid") != wechat.appid:
        raise Refusal(40013, "invalid appid")
    if call.query.get("secret") != wechat.secret:
        raise Refusal(40125, "invalid appsecret")
    code = account.get("codes", {}).get(call.query.get("code", ""))
    if code is None or code["ends"] < time.time():
        raise Refusal(40029, "invalid code")
    if code["used"]:
        raise Refusal(40163, "code been used")
    code["used"] = True
    token = f"web_{secrets.token_urlsafe(60)}"
    account.setdefault("web_tokens", {})[token] = code
    answer = {"access_token": token, "expires_in": 7200, "refresh_token": f"refresh_{secrets.token_urlsafe(60)}"}
    scope = account.get("said_scope", code["scope"])
    answer |= {"openid": _openid(code), "scope": scope, "unionid": _unionid(code)}
    return answer | ({"is_snapshotuser": 1} if code["snapshot"] else {})


def oauth_user(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /sns/userinfo."""
    code = account.get("web_tokens", {}).get(call.query.get("access_token", ""))
    if code is None or call.query.get("openid") != _openid(code):
        raise Refusal(40001, "invalid credential")
    if code["scope"] != "snsapi_userinfo":
        raise Refusal(48001, "api unauthorized")
    nickname = "微信用户" if code["snapshot"] else account.get("nickname", f"用户 {code['openid'][-4:]}")
    answer = {"openid": _openid(code), "nickname": nickname, "sex": 0, "language": "", "city": "", "province": ""}
    return answer | {"country": "", "headimgurl": "", "privilege": [], "unionid": _unionid(code)}


def _openid(code: dict[str, Any]) -> str:
    # A snapshot user is a virtual one.
    return f"oSnapshot{_digest(code)[:19]}" if code["snapshot"] else str(code["openid"])


def _unionid(code: dict[str, Any]) -> str:
    return f"oUnion{_digest(code)[:22]}"


def _digest(code: dict[str, Any]) -> str:
    return hashlib.blake2b(f"{code['openid']}{code['snapshot']}".encode(), digest_size=16).hexdigest()
