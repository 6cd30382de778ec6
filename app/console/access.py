"""Who may use the console: one password, few attempts at it, and a signed cookie for twelve hours."""

import hashlib
import hmac
import logging
import re
import secrets
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.security import check_password_hash

from app.backends import open_memory
from app.cache import Cache, to_json
from app.checks import MOST_PASSWORD_CHARACTERS
from app.config import Settings
from app.pages import say

_SESSION_SECONDS = 12 * 3600
_ATTEMPTS, _ATTEMPT_SECONDS = 5, 300
_MOST_NAME_CHARACTERS = 64
_OPEN = ("console.login_page", "console.login", "console.static")
logger = logging.getLogger("wechat.audit")
logger.setLevel(logging.INFO)  # whatever WECHAT_LOG_LEVEL is: who changed what must be known


class Operator(NamedTuple):
    """Who is logged in: the name they gave, their session, and what each change that they ask for must bring along.

    The latter is the same in each session of that name: a page stays good where somebody has to log in again.
    """

    name: str
    session: str
    csrf: str


def guard(site: Blueprint, settings: Settings, cache: Cache) -> None:
    """Let nobody see the pages of ``site`` who has not logged in with the password of ``settings``."""
    door = _Door(settings, cache)
    site.before_request(door.check)
    site.context_processor(lambda: {"operator": g.get("operator")})
    site.get("/login", endpoint="login_page")(door.page)
    site.post("/login")(door.login)
    site.post("/logout")(door.logout)


def audit(action: str, **details: Any) -> None:
    """Write the line of a change: what was done, by whom, and from where."""
    who = {"operator": g.operator.name if "operator" in g else None, "from": request.remote_addr}
    logger.info(action, extra={"fields": who | details})


class _Door:
    def __init__(self, settings: Settings, cache: Cache) -> None:
        self._hash = settings.admin_password
        self._cookie = f"wechat_console_{settings.appid}"
        # A change of the password ends all sessions, and so does one of what else is secret here.
        secret = "\n".join((settings.secret_key or settings.appsecret, settings.token, settings.admin_password))
        key = hashlib.blake2b(secret.encode(), digest_size=32).digest()
        self._signed = URLSafeTimedSerializer(key, salt="console")
        self._csrf_of: Callable[[str], str] = lambda name: hashlib.blake2b(
            name.encode(), key=key, digest_size=16, person=b"csrf"
        ).hexdigest()
        self._cache = cache
        self._attempts = _Attempts(cache.fans, Cache(open_memory(), settings.account))
        self._one_at_a_time = threading.Lock()  # a look at the password takes 32 MB

    def check(self) -> Any:
        """Turn away who is not logged in, and a change that no page of theirs asked for."""
        if request.endpoint in _OPEN:
            return None
        operator = self._operator()
        if operator is None:
            if request.method == "GET" and "HX-Request" not in request.headers:
                return redirect(url_for(".login_page", next=_own_path()))
            return _plain(
                401,
                say(
                    "请先在另一个窗口用同样的姓名重新登录，这里的内容还在",
                    "log in again first, in another window and by the same name: nothing here is lost",
                ),
            )
        if request.method not in ("GET", "HEAD") and not _is_same(request.form.get("csrf", ""), operator.csrf):
            return _plain(403, say("页面已失效，请刷新后重试", "this page is out of date: load it again"))
        g.operator = operator
        return None

    def page(self, status: int = 200, wrong: str = "") -> Response:
        """GET /console/login?next=PATH."""
        target = request.values.get("next", "")
        name = request.form.get("operator", "")
        return Response(render_template("console/login.html", target=target, wrong=wrong, name=name), status)

    def login(self) -> Any:
        """POST /console/login: operator, password, next."""
        name = request.form.get("operator", "").strip()
        if not name or len(name) > _MOST_NAME_CHARACTERS or not name.isprintable():
            return self.page(400, say("请填写姓名，最多 64 个字", "your name is missing, or longer than 64 characters"))
        attempt = self._attempts.take(request.remote_addr or "")
        if attempt is None:
            audit("login refused: too many attempts", operator=name)
            minutes = _ATTEMPT_SECONDS // 60
            wait = say(f"失败次数过多，请 {minutes} 分钟后再试", f"too many attempts: try again in {minutes} minutes")
            response = self.page(429, wait)
            response.headers["Retry-After"] = str(_ATTEMPT_SECONDS)
            return response
        password = request.form.get("password", "")
        with self._one_at_a_time:
            is_right = len(password) <= MOST_PASSWORD_CHARACTERS and check_password_hash(self._hash, password)
        if not is_right:
            audit("login refused: wrong password", operator=name)
            return self.page(403, say("密码不对", "the password is wrong"))
        self._attempts.give_back(attempt)
        g.operator = Operator(name, secrets.token_hex(16), self._csrf_of(name))
        audit("login")
        return self._with_cookie(redirect(_target()), self._signed.dumps(g.operator))

    def logout(self) -> Any:
        """POST /console/logout: also a copy of the cookie is of no use after it."""
        self._cache.set(self._ended(g.operator), "true", _SESSION_SECONDS)
        audit("logout")
        return self._with_cookie(redirect(url_for(".login_page")), "")

    def _operator(self) -> Operator | None:
        try:
            operator = Operator(*self._signed.loads(request.cookies.get(self._cookie, ""), max_age=_SESSION_SECONDS))
        except (BadSignature, TypeError):  # forged, too old, or of another version of this
            return None
        return None if self._cache.get(self._ended(operator)) else operator

    def _ended(self, operator: Operator) -> str:
        return self._cache.key("console-ended", operator.session)

    def _with_cookie(self, response: Any, value: str) -> Any:
        flags: dict[str, Any] = {"path": url_for(".overview"), "httponly": True, "samesite": "Strict"}
        seconds = _SESSION_SECONDS if value else 0
        # Not by WECHAT_PUBLIC_URL: operators come through a tunnel of their own, often without TLS.
        response.set_cookie(self._cookie, value, max_age=seconds, secure=request.is_secure, **flags)
        return response


class _Attempts:
    """Takes attempts at the password: ``_ATTEMPTS`` an address in ``_ATTEMPT_SECONDS``, in all processes together.

    Each is kept in the shared cache and in this process: a shared cache that is down lets everything through.
    """

    def __init__(self, *caches: Cache) -> None:
        self._caches = caches

    def take(self, address: str) -> list[tuple[Cache, str]] | None:
        """Take an attempt and return what to give back after a good one; None where all are taken."""
        mine = to_json(secrets.token_hex(6))
        taken: list[tuple[Cache, str]] = []
        for cache in self._caches:
            keys = (cache.key("attempt", address, str(number)) for number in range(_ATTEMPTS))
            free = next((key for key in keys if cache.claim(key, mine, _ATTEMPT_SECONDS) == mine), None)
            if free is None:
                self.give_back(taken)
                return None
            taken.append((cache, free))
        return taken

    def give_back(self, taken: list[tuple[Cache, str]]) -> None:
        """Give back what was taken."""
        for cache, key in taken:
            cache.delete(key)


def _target() -> str:
    """Return where to go on to: a page of the console, whatever was asked for."""
    target, home = request.form.get("next", ""), url_for(".overview")
    return target if target.startswith(home) and re.fullmatch(r"[!-\[\]-~]+", target) else home


def _own_path() -> str:
    return request.script_root + request.full_path.rstrip("?")


def _is_same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _plain(status: int, text: str) -> Response:
    return Response(text, status, content_type="text/plain; charset=utf-8")
