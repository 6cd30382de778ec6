"""EXIT: the only code that calls WeChat's API. Here is what handlers and pages use of it, for the current app."""

import os
import threading
from pathlib import Path
from typing import Any

from flask import Flask, current_app
from wechatpy.replies import ImageReply, VoiceReply

from app.api import media, qrcodes
from app.api.client import Client
from app.api.messages import Budget, send_messages
from app.cache import Cache
from app.config import Settings
from app.errors import ConfigError

_NO_ACCOUNT = "WeChat's API cannot be called without an account (WECHAT_SANDBOX=1 plays one locally)"


class Api:
    """The API of one account: a client for each process, and what is remembered with it."""

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.settings = settings
        self.cache = cache
        self.budget = Budget(cache.fans)
        self._clients: dict[int, Client] = {}
        self._lock = threading.Lock()

    @property
    def client(self) -> Client:
        """The client of this process: a fork must not share its connections. Raises ConfigError without an account."""
        pid = os.getpid()
        if pid not in self._clients:
            if not self.settings.has_api:
                given = {"WECHAT_APPID": self.settings.appid, "WECHAT_APPSECRET": self.settings.appsecret}
                missing = " and ".join(name for name, value in given.items() if not value)
                raise ConfigError(f"{missing} missing; {_NO_ACCOUNT}")
            with self._lock:
                if pid not in self._clients:
                    self._clients = {pid: Client(self.settings, self.cache)}
        return self._clients[pid]


def open_api(app: Flask, settings: Settings, cache: Cache) -> Api:
    """Put the API behind ``app``; nothing is called yet."""
    api = app.extensions["wechat_api"] = Api(settings, cache)
    return api


def get_api() -> Api:
    """Return the current app's API."""
    api: Api = current_app.extensions["wechat_api"]
    return api


def get_client() -> Client:
    """Return wechatpy's client, whose every call raises ApiError where WeChat refuses it or does not answer.

    Raises ConfigError without WECHAT_APPID and WECHAT_APPSECRET.
    """
    return get_api().client


def send(openid: str, value: Any) -> int:
    """Send the fan ``value``, which is what a handler may return, as customer-service messages; return their number.

    Raises BadReply for what cannot be sent, ApiError with WeChat's 45015 (the fan did nothing lately), 45047 (too many
    already) or 48001 (the account may not), among others.
    """
    api = get_api()
    return send_messages(api.client, api.budget, openid, value)


def create_qrcode(scene: int | str, expire_seconds: int | None = None) -> qrcodes.QrCode:
    """Return the QR code with this scene: permanent, or temporary for ``expire_seconds`` (up to 2592000).

    The scene is 1 to 64 characters, or an int of 1 to 100000, for a temporary code up to 4294967295.
    Raises ValueError, ApiError, StoreError.
    """
    api = get_api()
    return qrcodes.create(api.client, api.settings.account, scene, expire_seconds)


def media_id(path: str | Path, media_type: str | None = None) -> str:
    """Return the media_id of the file, uploaded once in three days: image, voice, video or thumb.

    Raises ValueError for a file that WeChat would refuse, OSError, ApiError.
    """
    api = get_api()
    return media.upload(api.client, api.cache.fans, path, media_type)


def image(path: str | Path) -> ImageReply:
    """Return the image at ``path`` as a value for a handler to return."""
    return ImageReply(media_id=media_id(path, "image"))


def voice(path: str | Path) -> VoiceReply:
    """Return the recording at ``path`` as a value for a handler to return."""
    return VoiceReply(media_id=media_id(path, "voice"))
