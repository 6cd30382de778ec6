"""The client: wechatpy's, with one token for all, time-outs, few repetitions, and one exception."""

import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError
from wechatpy.client import WeChatClient
from wechatpy.exceptions import WeChatClientException

from app.api.endpoints import JSAPI, Drafts, Media, Published, QRCode, SubscribeMessages
from app.api.kept import Kept
from app.api.pauses import Pauses
from app.cache import Cache
from app.config import WECHAT_API_BASE_URL, Settings
from app.errors import ApiError

_TIMEOUT_SECONDS = (3.0, 5.0)
_UPLOAD_TIMEOUT_SECONDS = (3.0, 30.0)
_BAD_TOKEN = (40001, 40014, 42001)
_BUSY = -1
_PAUSES_SECONDS = (0.3, 1.0)
# WeChat's names of calls that only read begin so; the others here may be made twice without harm.
_IS_READ = re.compile(r"/(batch)?get\w*$|/(stable_token|ticket|trymatch|userinfo|list|query\w*)$")
_REPEATABLE = ("/cgi-bin/menu/create", "/cgi-bin/menu/delete", "/cgi-bin/message/custom/typing")
_NOT_REPEATABLE = ("/sns/oauth2/access_token",)  # a code is used once
_STABLE_TOKEN_URL = f"{WECHAT_API_BASE_URL}/cgi-bin/stable_token"
_LOCAL = ("127.0.0.1", "localhost", "::1")
_CONNECTIONS = 100
_RID = re.compile(r"rid: ?([\w-]+)")
# Longer than anything else that WeChat says, and of a token's characters.
_TOKEN_LIKE = re.compile(r"[\w-]{60,}")
logger = logging.getLogger("wechat.api")


class WeChatApiError(ApiError, WeChatClientException):
    """An ApiError that code written for wechatpy catches as well."""

    client = request = response = None  # wechatpy's; they would hold the token


class _Broken(Exception):
    """No answer that could be read. The text holds nothing of the request.

    ``may_repeat`` is "always" where the call did not get through, "if safe" where it may have, "never" after a
    time-out: nobody waits three times for a WeChat that says nothing.
    """

    def __init__(self, text: str, may_repeat: str = "if safe") -> None:
        super().__init__(text)
        self.may_repeat = may_repeat


class Client(WeChatClient):
    """wechatpy's client for one account, to be used by any number of threads.

    Every call raises ApiError when WeChat refuses it or does not answer in time.
    """

    draft = Drafts()
    freepublish = Published()
    jsapi = JSAPI()
    media = Media()
    qrcode = QRCode()
    subscribe_message = SubscribeMessages()

    def __init__(self, settings: Settings, cache: Cache) -> None:
        super().__init__(settings.appid, settings.appsecret, timeout=_TIMEOUT_SECONDS, auto_retry=False)
        self.base_url = settings.api_base_url
        self._hidden = tuple(settings.secrets)
        # A token belongs to its API and secret: after a change of either, the old one is not looked at.
        name = hashlib.blake2b(f"{self.base_url} {self.secret}".encode(), digest_size=8).hexdigest()
        self._pauses = Pauses(cache, name)
        self._token = Kept(cache, f"token:{name}", self._fetch_token)
        self._ticket = Kept(cache, f"ticket:{name}", self._fetch_ticket)
        self._http.mount("https://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
        self._http.mount("http://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
        self._http.trust_env = urlsplit(self.base_url).hostname not in _LOCAL  # no proxy between two on one machine
        self._http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    @property
    def access_token(self) -> str:
        """The token, the same for all processes. Raises ApiError."""
        return self._token.get()

    @property
    def jsapi_ticket(self) -> str:
        """The ticket of the JS-SDK, kept as the token is. Raises ApiError."""
        return self._ticket.get()

    def fetch_access_token(self) -> None:
        """Fetch nothing: the token is renewed by itself. Raises ApiError where there is none to be had."""
        self._token.get()

    def clear_quota(self) -> Any:
        """Set the daily quotas of all calls back; WeChat takes this ten times a month."""
        # https://developers.weixin.qq.com/doc/offiaccount/openApi/clear_quota.html
        return self.post("clear_quota", data={"appid": self.appid})

    def get_api_quota(self, cgi_path: str) -> Any:
        """Return {"daily_limit", "used", "remain"} of a call such as ``/cgi-bin/message/custom/send``."""
        # https://developers.weixin.qq.com/doc/offiaccount/openApi/get_api_quota.html
        return self.post("openapi/quota/get", data={"cgi_path": cgi_path}, result_processor=lambda said: said["quota"])

    def get_rid(self, rid: str) -> Any:
        """Return what WeChat has recorded of the call ``rid``, within 7 days."""
        # https://developers.weixin.qq.com/doc/offiaccount/openApi/get_rid_info.html
        return self.post("openapi/rid/get", data={"rid": rid}, result_processor=lambda said: said["request"])

    def without_token(self, method: str, url: str, **kwargs: Any) -> Any:
        """Make a call that takes no access token, such as those of OAuth, and return its JSON. Raises ApiError."""
        url, path = self._place(url)
        return self._call(method, path, url, **kwargs)

    def _request(self, method: str, url_or_endpoint: str, **kwargs: Any) -> Any:
        base = kwargs.pop("api_base_url", self.API_BASE_URL)
        is_whole = url_or_endpoint.startswith(("http://", "https://"))
        url, path = self._place(url_or_endpoint if is_whole else base + url_or_endpoint)
        process = kwargs.pop("result_processor", None)
        given = kwargs.pop("params", None) or {}
        token = given.get("access_token") or self.access_token
        try:
            said = self._call(method, path, url, params={**given, "access_token": token}, **kwargs)
        except ApiError as error:
            if error.errcode not in _BAD_TOKEN or "access_token" in given:
                raise
            refused = error
        else:
            return process(said) if process and isinstance(said, dict) else said
        other = self._token.replace(token)
        if other is None or other == token:
            raise refused
        _rewind(kwargs.get("files"))
        said = self._call(method, path, url, params={**given, "access_token": other}, **kwargs)
        return process(said) if process and isinstance(said, dict) else said

    def _call(self, method: str, path: str, url: str, **kwargs: Any) -> Any:
        """Make the call, again where that is safe and may help, and return its JSON, or the response of a file."""
        was_paused = self._pauses.check(path)
        is_repeatable = {"always": True, "if safe": _is_repeatable(method, path), "never": False}
        for pause in (*_PAUSES_SECONDS, None):
            try:
                said = self._once(method, url, **kwargs)
            except _Broken as broken:
                error: ApiError = WeChatApiError(None, f"{method.upper()} {path}: {broken}")
                again = is_repeatable[broken.may_repeat]
            except ApiError as refused:
                self._pauses.begin(path, refused)
                error, again = refused, refused.errcode == _BUSY and is_repeatable["if safe"]
            else:
                if was_paused:
                    self._pauses.end(path)
                return said
            if pause is None or not again:
                break
            _rewind(kwargs.get("files"))
            time.sleep(pause)
        raise error  # here, so that it does not drag along what holds the URL with its token

    def _once(self, method: str, url: str, **kwargs: Any) -> Any:
        if isinstance(kwargs.get("data"), dict):
            # In real UTF-8: WeChat takes \\uXXXX for text as it stands, or refuses it.
            kwargs["data"] = json.dumps(kwargs["data"], ensure_ascii=False).encode(errors="replace")
            kwargs["headers"] = {"Content-Type": "application/json", **(kwargs.get("headers") or {})}
        timeout = kwargs.pop("timeout", None) or (_UPLOAD_TIMEOUT_SECONDS if kwargs.get("files") else self.timeout)
        try:
            response = self._http.request(method, url, timeout=timeout, allow_redirects=False, **kwargs)
        except requests.RequestException as error:  # its text holds the URL, with the token
            broken = _broken(error)
        else:
            return self._read(response)
        raise broken

    def _read(self, response: requests.Response) -> Any:
        """Return the JSON, or the response where it is a file."""
        content_type = response.headers.get("Content-Type", "")
        if response.status_code == 200 and not re.search("json|text|javascript", content_type):
            return response
        try:
            said = json.loads(response.content.decode(errors="ignore"), strict=False)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise _Broken(f"it answered with status {response.status_code} and {content_type!r}, which is no JSON")
        said |= said.pop("base_resp", {})  # so do the calls about devices
        errcode = said["errcode"] = int(said.get("errcode") or 0)
        if errcode:
            errmsg = str(said.get("errmsg", ""))
            for hidden in self._hidden:
                errmsg = errmsg.replace(hidden, "***")
            rid = _RID.search(errmsg)
            raise WeChatApiError(errcode, _TOKEN_LIKE.sub("***", errmsg), rid[1] if rid else "")
        return said

    def _fetch_token(self, force: bool) -> tuple[str, float]:
        # https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/getStableAccessToken.html
        wanted = {"grant_type": "client_credential", "appid": self.appid, "secret": self.secret}
        said = self.without_token("post", _STABLE_TOKEN_URL, data={**wanted, "force_refresh": force})
        logger.info("fetched an access token for %s s%s", said.get("expires_in"), ", by force" if force else "")
        return _with_seconds(said, "access_token")

    def _fetch_ticket(self, force: bool) -> tuple[str, float]:
        # https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/JS-SDK.html
        return _with_seconds(self.get("ticket/getticket", params={"type": "jsapi"}), "ticket")

    def _place(self, url: str) -> tuple[str, str]:
        """Return where to call instead of ``url``, which may name WeChat's own host, and the call's path."""
        parts = urlsplit(url)
        if self.base_url != WECHAT_API_BASE_URL and (parts.hostname or "").endswith("weixin.qq.com"):
            url = self.base_url + parts.path + (f"?{parts.query}" if parts.query else "")
        return url, parts.path


def _with_seconds(said: Mapping[str, Any], name: str) -> tuple[str, float]:
    value, seconds = said.get(name), said.get("expires_in")
    if not isinstance(value, str) or not value or not isinstance(seconds, int | float) or seconds <= 0:
        raise WeChatApiError(None, f"WeChat's answer holds no {name} with expires_in")
    return value, float(seconds)


def _is_repeatable(method: str, path: str) -> bool:
    if path in _NOT_REPEATABLE:
        return False
    return method.lower() == "get" or path in _REPEATABLE or bool(_IS_READ.search(path))


def _broken(error: requests.RequestException) -> _Broken:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    name = type(reason or error).__name__
    if isinstance(error, requests.Timeout):
        return _Broken(f"no answer in time ({name})", "never")
    if isinstance(reason, NewConnectionError):
        return _Broken(f"it cannot be reached ({name})", "always")
    return _Broken(f"the connection broke ({name})")


def _rewind(files: Mapping[str, Any] | None) -> None:
    """Let files be read from their start again."""
    for file in (files or {}).values():
        stream = file[1] if isinstance(file, tuple) else file
        if hasattr(stream, "seek"):
            stream.seek(0)
