"""One call of WeChat's API over HTTP: with a time-out, repeated where that is safe, and with one exception."""

import codecs
import json
import re
import time
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError
from wechatpy.exceptions import WeChatClientException

from app import metrics
from app.api.pauses import Pauses
from app.config import WECHAT_API_BASE_URL
from app.errors import ApiError
from app.near import is_this_machine
from app.store.text import cleaned

# To connect, and to wait for an answer.
_TIMEOUT_SECONDS = (3.0, 5.0)
_UPLOAD_TIMEOUT_SECONDS = (3.0, 30.0)
_BUSY = -1
_PAUSES_SECONDS = (0.3, 1.0)
# Calls that are answered with a file; of WeChat's labels on it, none is to be relied on.
_IS_OF_FILE = re.compile(
    r"/(media/get(/jssdk)?|material/get_material|showqrcode|getwxacode(unlimit)?|createwxaqrcode|get_qrcode)$"
)
# What some of them answer instead, beside errcode: a video's address, or articles.
_INSTEAD_OF_FILE = {"errcode", "video_url", "down_url", "news_item"}
# WeChat's names of calls that only read begin so; the others here may be made twice without harm.
_IS_READ = re.compile(r"/(batch)?get\w*$|/(stable_token|trymatch|query\w*)$")
_REPEATABLE = ("/cgi-bin/menu/create",)
_NOT_REPEATABLE = ("/sns/oauth2/access_token",)  # a code is used once
_CONNECTIONS = 100
_IDLE_SECONDS = 5.0
_RID = re.compile(r"rid: ?([\w-]+)")
# Longer than anything else that WeChat says, and of a token's characters.
_TOKEN_LIKE = re.compile(r"[\w-]{60,}")


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


class Calls:
    """Calls of the API at ``base_url``, from any number of threads; ``hidden`` is what no exception may say."""

    def __init__(self, base_url: str, pauses: Pauses, hidden: tuple[str, ...]) -> None:
        self.base_url = base_url
        self._pauses = pauses
        self._hidden = hidden
        self.http = requests.Session()
        self.http.mount("https://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
        self.http.mount("http://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
        # No proxy between two on one machine.
        self.http.trust_env = not is_this_machine(urlsplit(base_url).hostname or "")
        self.http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._used_at = 0.0

    def make(self, method: str, url: str, **kwargs: Any) -> Any:
        """Make the call, again where that is safe and may help, and return its JSON, or the response of a file.

        ``url`` may name any host of WeChat, or none. Raises ApiError.
        """
        url, path = self._place(url)
        was_paused = self._pauses.check(path)
        is_repeatable = {"always": True, "if safe": _is_repeatable(method, path), "never": False}
        for pause in (*_PAUSES_SECONDS, None):
            try:
                said = self._once(method, url, **kwargs)
            except _Broken as broken:
                error: ApiError = WeChatApiError(None, f"{method.upper()} {path}: {broken}")
                again = is_repeatable[broken.may_repeat]
                metrics.count_call(path, None)
            except ApiError as refused:
                metrics.count_call(path, refused.errcode)
                self._pauses.begin(path, refused)
                error, again = refused, refused.errcode == _BUSY and is_repeatable["if safe"]
            else:
                metrics.count_call(path, 0)
                if was_paused:
                    self._pauses.end(path)
                return said
            if pause is None or not again:
                break
            rewind(kwargs.get("files"))
            time.sleep(pause)
        raise error  # here, so that it does not drag along what holds the URL with its token

    def store(self, url: str, form: Any) -> requests.Response:
        """Post ``form`` to a storage, once, and return its response. Raises ApiError."""
        try:
            response = self.http.post(url, files=form, timeout=_UPLOAD_TIMEOUT_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            failed = str(_as_broken(error))
        else:
            if response.ok:
                return response
            failed = f"it answered with status {response.status_code}"
        raise WeChatApiError(None, f"POST to the storage: {failed}")

    def _once(self, method: str, url: str, **kwargs: Any) -> Any:
        if isinstance(kwargs.get("data"), dict) and not kwargs.get("files"):  # beside files, it is a form
            # In real UTF-8: WeChat takes \\uXXXX for text as it stands, or refuses it.
            kwargs["data"] = json.dumps(kwargs["data"], ensure_ascii=False).encode(errors="replace")
            kwargs["headers"] = {"Content-Type": "application/json", **(kwargs.get("headers") or {})}
        timeout = kwargs.pop("timeout", None) or (_UPLOAD_TIMEOUT_SECONDS if kwargs.get("files") else _TIMEOUT_SECONDS)
        if time.monotonic() - self._used_at > _IDLE_SECONDS:
            self.http.close()  # its idle connections: WeChat may be closing them just now
        self._used_at = time.monotonic()
        try:
            response = self.http.request(method, url, timeout=timeout, allow_redirects=False, **kwargs)
        except requests.RequestException as error:  # its text holds the URL, with the token
            raise _as_broken(error) from None
        return self._read(response, bool(_IS_OF_FILE.search(urlsplit(url).path)))

    def _read(self, response: requests.Response, is_file: bool) -> Any:
        """Return the JSON, or the response where it is a file; how it is labelled says nothing."""
        is_answer = response.status_code == 200
        said = _json_object(response.content) if is_answer else None
        if said is None and is_answer and (is_file or "Content-Disposition" in response.headers):
            return response
        if said is None:
            label = response.headers.get("Content-Type", "")
            raise _Broken(f"it answered with status {response.status_code} and {label!r}, which is no JSON")
        if isinstance(status := said.pop("base_resp", None), dict):  # so do the calls about devices
            said |= status
        try:
            errcode = int(said.get("errcode") or 0)
        except (TypeError, ValueError, OverflowError):
            errcode = None
        if is_file and (errcode is None or not _INSTEAD_OF_FILE & said.keys()):  # the file is JSON itself
            return response
        if errcode is None:
            raise _Broken("its errcode is no number")
        said["errcode"] = errcode
        if errcode:
            errmsg = str(said.get("errmsg", ""))
            for hidden in self._hidden:
                errmsg = errmsg.replace(hidden, "***")
            rid = _RID.search(errmsg)
            raise WeChatApiError(errcode, _TOKEN_LIKE.sub("***", errmsg), rid[1] if rid else "")
        return said

    def _place(self, url: str) -> tuple[str, str]:
        """Return where to call instead of ``url``, which may name WeChat's own host, and the call's path."""
        url = url if "://" in url else WECHAT_API_BASE_URL + url
        parts = urlsplit(url)
        if self.base_url != WECHAT_API_BASE_URL and (parts.hostname or "").endswith("weixin.qq.com"):
            url = self.base_url + parts.path + (f"?{parts.query}" if parts.query else "")
        return url, parts.path


def _json_object(content: bytes) -> dict[str, Any] | None:
    """Return the object that ``content`` is as JSON, though some of its characters may be damaged; None for another."""
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.lstrip().startswith(b"{"):  # no picture does, whatever is left of it in UTF-8
        return None
    try:
        said = cleaned(json.loads(content.decode(errors="ignore"), strict=False))
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _is_repeatable(method: str, path: str) -> bool:
    if path in _NOT_REPEATABLE:
        return False
    return method.lower() == "get" or path in _REPEATABLE or bool(_IS_READ.search(path))


def _as_broken(error: requests.RequestException) -> _Broken:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    name = type(reason or error).__name__
    if isinstance(error, requests.Timeout):
        return _Broken(f"no answer in time ({name})", "never")
    if isinstance(reason, NewConnectionError):
        return _Broken(f"it cannot be reached ({name})", "always")
    return _Broken(f"the connection broke ({name})")


def rewind(files: Mapping[str, Any] | None) -> None:
    """Let files be read from their start again."""
    for file in (files or {}).values():
        stream = file[1] if isinstance(file, tuple) else file
        if hasattr(stream, "seek"):
            stream.seek(0)
