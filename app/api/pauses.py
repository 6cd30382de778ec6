"""When WeChat says that no call will do for now, none is made for a growing while, by any process."""

import logging
import re
import time
from typing import NamedTuple

from app.cache import Cache, is_numbers, to_json, understood
from app.errors import ApiError

_ACCOUNT, _TOKEN = "account", "token"  # every call; every call that takes a token, and that which fetches one
_OF_LOGIN = "/sns/"  # takes no token
_NOT_LISTED, _QUOTA_USED_UP = 40164, 45009
# By errcode: what to do. Those of the secret concern every call.
_TODO = {
    40125: "compare WECHAT_APPSECRET with the account's page (设置与开发 → 基本配置), then reload",
    _NOT_LISTED: "put {address} on the IP white list (IP白名单) of the account's page (设置与开发 → 基本配置)",
    40243: "thaw the AppSecret (解冻) on the account's page (设置与开发 → 基本配置)",
    _QUOTA_USED_UP: "wait until midnight in Beijing, or clear it once: get_client().clear_quota()",
}
# What a wrong AppSecret or appid is called where the token is fetched.
_WRONG_SECRET = (40001, 40013, 41002, 41004, 40125)
_FIRST_SECONDS = 30
_LONGEST_SECONDS = {_QUOTA_USED_UP: 3600}
_LONGEST = 600
_ADDRESS = re.compile(r"(?<![\w.:])(\d{1,3}(?:\.\d{1,3}){3})(?![\w.])")
logger = logging.getLogger("wechat.api")


def todo(path: str, error: ApiError) -> str:
    """Return what to do after ``error`` of a call of ``path``; "" where nothing is known that helps."""
    found = _ADDRESS.search(error.errmsg)
    return _TODO.get(_meant(path, error) or 0, "").format(address=found[1] if found else "this server's address")


def _scopes(path: str) -> tuple[str, ...]:
    """Return whose pauses concern a call of ``path``."""
    return (_ACCOUNT, path) if path.startswith(_OF_LOGIN) else (_ACCOUNT, _TOKEN, path)


def _scope_of(path: str, errcode: int) -> str:
    """Return what pauses after ``errcode``."""
    if errcode == _QUOTA_USED_UP or (errcode == _NOT_LISTED and path.startswith(_OF_LOGIN)):
        return path
    return _TOKEN if errcode == _NOT_LISTED else _ACCOUNT


def _meant(path: str, error: ApiError) -> int | None:
    """Return the errcode that says what is wrong: a wrong secret has several where the token is fetched."""
    is_of_token = path.endswith("/stable_token") and error.errcode in _WRONG_SECRET
    return 40125 if is_of_token else error.errcode


class _Pause(NamedTuple):
    errcode: int
    errmsg: str
    rid: str
    until: float
    times: int
    begun: float


class Pauses:
    """The pauses of one account; ``name`` tells this secret and API from others in the same cache."""

    def __init__(self, cache: Cache, name: str) -> None:
        self._cache = cache
        self._name = name

    def check(self, path: str) -> bool:
        """Return whether a call of ``path`` is the first after a pause. Raises ApiError while it lasts."""
        pauses = list(filter(None, map(self._read, _scopes(path))))
        for pause in pauses:
            if time.time() < pause.until and not self._is_cleared(pause):
                again = time.strftime("%H:%M:%S", time.localtime(pause.until))
                raise ApiError(pause.errcode, f"{pause.errmsg} (WeChat is not asked again before {again})", pause.rid)
        return bool(pauses)

    def end(self, path: str) -> None:
        """Forget the pauses: the call of ``path`` went well."""
        for scope in _scopes(path):
            self._cache.delete(self._key(scope))

    def begin(self, path: str, error: ApiError) -> None:
        """Pause after ``error`` where it calls for that, and say in the log what to do."""
        errcode = _meant(path, error)
        if errcode is None or errcode not in _TODO:
            return
        scope = _scope_of(path, errcode)
        before = self._read(scope)
        if before and time.time() < before.until:  # another call was under way
            return
        times = before.times + 1 if before and before.errcode == error.errcode else 1
        seconds = min(_FIRST_SECONDS * 2 ** (times - 1), _LONGEST_SECONDS.get(errcode, _LONGEST))
        pause = _Pause(error.errcode or errcode, error.errmsg, error.rid, time.time() + seconds, times, time.time())
        self._cache.set(self._key(scope), to_json(pause), 3 * seconds)
        what = {_ACCOUNT: "all calls", _TOKEN: "all calls that take a token"}.get(scope, f"calls of {path}")
        logger.error("%s pause for %d s: %s. To do: %s", what, seconds, error, todo(path, error))

    def clear_quotas(self) -> None:
        """End the pauses for quotas: they are set back."""
        self._cache.set(self._key("cleared"), str(time.time()), 2 * _LONGEST_SECONDS[_QUOTA_USED_UP])

    def _is_cleared(self, pause: _Pause) -> bool:
        if pause.errcode != _QUOTA_USED_UP:
            return False
        return bool((understood(self._cache.get(self._key("cleared")), is_numbers) or 0) > pause.begun)

    def _read(self, scope: str) -> _Pause | None:
        kept = self._cache.get(self._key(scope))
        found = understood(kept, lambda pause: _Pause(*pause) and is_numbers(pause[0], *pause[3:]))
        return _Pause(*found) if found else None

    def _key(self, scope: str) -> str:
        return self._cache.key("pause", self._name, scope)
