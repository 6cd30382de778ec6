"""The cookies of browsers: signed, and closed to scripts and to other sites."""

import hashlib
import hmac
from datetime import timedelta
from typing import Any

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from app.config import Settings

_LOGGED_IN_FOR = timedelta(days=30)


def sign_cookies(app: Flask, settings: Settings) -> None:
    """Let ``flask.session`` be kept in a signed cookie, with a name and a key of this account's own."""
    app.secret_key = settings.secret_key or _derived_key(settings.appsecret)
    app.session_interface = _Sessions(settings.path)
    app.config.update(
        SESSION_COOKIE_NAME=f"wechat_{settings.appid}",
        SESSION_COOKIE_SECURE=settings.public_url.startswith("https:"),
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=_LOGGED_IN_FOR,
    )


def _derived_key(appsecret: str) -> str | None:
    """Return a key for cookies where WECHAT_SECRET_KEY is not set: as secret as the AppSecret, and changed with it."""
    return hmac.new(appsecret.encode(), b"cookies of the login", hashlib.sha256).hexdigest() if appsecret else None


class _Sessions(SecureCookieSessionInterface):
    """Flask's, but not for the callback: WeChat's server has no cookies, and looking for them takes time."""

    def __init__(self, callback_path: str) -> None:
        self._callback_path = callback_path

    def open_session(self, app: Flask, request: Any) -> Any:
        if request.environ.get("PATH_INFO") == self._callback_path:
            return None
        return super().open_session(app, request)
