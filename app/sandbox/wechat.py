"""The account as WeChat's servers keep it: tokens, quotas, windows, and the faults that somebody asked for."""

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from app.sandbox.state import State

TOKEN_SECONDS = 7200
MESSAGE_WINDOW = (48 * 3600, 5)
ACTION_WINDOW = (60, 3)
_FORCED_A_DAY = 20
_FORCED_APART_SECONDS = 30
_KINDS = ("errcode", "stall", "cut", "html")


class Refusal(Exception):
    """An answer with this errcode."""

    def __init__(self, errcode: int, errmsg: str) -> None:
        super().__init__(errcode, errmsg)
        self.errcode, self.errmsg = errcode, errmsg


class Call(NamedTuple):
    """One request to the API: ``body`` is its JSON, ``files`` names and contents of what comes in a ``form``."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    raw: bytes = b""
    files: Mapping[str, tuple[str, bytes]] = {}
    form: Mapping[str, str] = {}


Answer = dict[str, Any]
Endpoint = Callable[["WeChat", dict[str, Any], Call], Any]


class WeChat:
    """The account ``appid`` with its ``secret``; what it remembers is in the file ``path``."""

    def __init__(self, appid: str, secret: str, path: Path) -> None:
        self.appid, self.secret = appid, secret
        self.state = State(path)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Every call, the oldest first: method, path, query, body, errcode, at; without token and secret."""
        return self.state.records("call")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The customer-service messages that fans got, the oldest first, as the JSON that was sent."""
        return self.state.records("message")

    def set(self, **values: Any) -> None:
        """Change how the account behaves: ``expires_in`` of new tokens, ``limits`` as {path: calls a day},
        ``said_scope``, which a login says instead of what the fan agreed to, ``nickname`` of the fan who logs in, and
        ``label``, the type of files.
        """
        with self.state.changed() as account:
            account.update(values)

    def fail(self, path: str, kind: str = "errcode", *, errcode: int = 0, seconds: float = 0, times: int = 0) -> None:
        """Let calls of ``path`` ("*" for any) fail: with ``errcode``, by a "cut", with "html", or just "stall".

        After ``seconds``, for the next ``times`` calls, 0 for ever. The same path and kind again replaces it.
        """
        if kind not in _KINDS:
            raise ValueError(f"a fault is {kind!r}; expected one of {', '.join(_KINDS)}")
        with self.state.changed() as account:
            faults = [fault for fault in account.get("faults", ()) if (fault["path"], fault["kind"]) != (path, kind)]
            fault = {"path": path, "kind": kind, "errcode": errcode, "seconds": seconds, "left": times or None}
            account["faults"] = [*faults, fault]

    def heal(self) -> None:
        """End all faults."""
        self.set(faults=[])

    def revoke_token(self, *, stubbornly: bool = False) -> None:
        """Make the token bad; ``stubbornly``: until a forced refresh, the same bad one is given out."""
        with self.state.changed() as account:
            if token := account.get("token"):
                token |= {"dead": True, "stubborn": stubbornly}

    def expire_token(self) -> None:
        """Let the token end now."""
        with self.state.changed() as account:
            if token := account.get("token"):
                token |= {"ends": time.time() - 1}

    def heard(self, openid: str, event: str | None = None) -> None:
        """Note that the fan wrote (``event`` None), clicked, followed or scanned: messages may follow then; or left."""
        if event == "unsubscribe":
            self.close_window(openid)
        if event not in (None, "click", "scancode_push", "scancode_waitmsg", "subscribe", "scan"):
            return
        seconds, count = MESSAGE_WINDOW if event is None else ACTION_WINDOW
        with self.state.changed() as account:
            windows = account.setdefault("fans", {}).setdefault(openid, {})
            windows["message" if event is None else "action"] = [time.time() + seconds, count]

    def close_window(self, openid: str) -> None:
        """Let no customer-service message follow any more."""
        with self.state.changed() as account:
            account.setdefault("fans", {}).pop(openid, None)

    def fault(self, path: str) -> dict[str, Any] | None:
        """Return the fault that this call of ``path`` meets, and count it."""
        with self.state.changed() as account:
            faults = account.get("faults", [])
            found = next((fault for fault in faults if fault["path"] in (path, "*")), None)
            if found and found["left"]:
                found["left"] -= 1
                account["faults"] = [fault for fault in faults if fault["left"] != 0]
            return found

    def count(self, account: dict[str, Any], path: str) -> None:
        """Count a call of today; raises Refusal past its limit."""
        day, used = account.get("used", ["", {}])
        today = time.strftime("%Y-%m-%d")
        used = used if day == today else {}
        used[path] = used.get(path, 0) + 1
        account["used"] = [today, used]
        if used[path] > account.get("limits", {}).get(path, 10**9):
            raise Refusal(45009, "reach max api daily quota limit")

    def new_token(self, account: dict[str, Any], *, force: bool = False) -> Answer:
        """Answer stable_token: the same token for everybody, until shortly before its end."""
        # https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/getStableAccessToken.html
        now, token = time.time(), account.get("token")
        if force:
            self._count_forced(account, now)
        if force or token is None or (token["dead"] and not token["stubborn"]) or now >= token["ends"] - _early(token):
            expires_in = account.get("expires_in", TOKEN_SECONDS)
            old = {} if force or not token or token["dead"] else {"old": token["value"], "old_ends": token["ends"]}
            token = {"value": f"sandbox_{secrets.token_urlsafe(96)}", "ends": now + expires_in, "seconds": expires_in}
            account["token"] = token | {"dead": False, "stubborn": False, "old": "", "old_ends": 0} | old
        return {"access_token": token["value"], "expires_in": max(int(token["ends"] - now), 1)}

    def check_token(self, account: dict[str, Any], value: str) -> None:
        """Raise the Refusal that a wrong access_token gets."""
        token, now = account.get("token"), time.time()
        if not value:
            raise Refusal(41001, "access_token missing")
        if value == account.get("plain_token") or (token and value == token["old"] and now < token["old_ends"]):
            return
        if not token or value != token["value"] or token["dead"]:
            raise Refusal(40001, "invalid credential, access_token is invalid or not latest")
        if now >= token["ends"]:
            raise Refusal(42001, "access_token expired")

    def _count_forced(self, account: dict[str, Any], now: float) -> None:
        forced = [at for at in account.get("forced", ()) if at > now - 86400]
        if len(forced) >= _FORCED_A_DAY or (forced and now - forced[-1] < _FORCED_APART_SECONDS):
            raise Refusal(45009, "reach max force_refresh limit")
        account["forced"] = [*forced, now]


def _early(token: Mapping[str, Any]) -> float:
    return min(300.0, float(token["seconds"]) * 0.6)
