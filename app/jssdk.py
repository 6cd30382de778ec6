"""The door of pages that use the JS-SDK: ``/jssdk?url=`` signs a page of this site, or of one in the settings."""

import logging
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, request

from app.api import get_api
from app.config import Settings
from app.errors import ApiError, ConfigError

logger = logging.getLogger("wechat.jssdk")


def add_jssdk(app: Flask, settings: Settings) -> None:
    """Put ``/jssdk`` on ``app``."""
    own = urlsplit(settings.public_url).netloc.lower()
    allowed = {host for host in (own, *settings.jssdk_hosts) if host}

    def jssdk() -> Any:
        """GET /jssdk?url=PAGE: what ``wx.config`` takes, as JSON."""
        url, is_whole = _given()
        if not is_whole:
            error = "url: expected the page's address encoded by encodeURIComponent, or & ends it and + is a space"
            return _allowed(jsonify(error=error), allowed), 400
        if not _is_of(url, allowed):
            hosts = " or ".join(sorted(allowed)) or "a host that WECHAT_PUBLIC_URL names, which is not set"
            error = f"url: expected the page's http(s) address on {hosts}"
            return _allowed(jsonify(error=error), allowed), 403 if url else 400
        try:
            signed = _signed(url)
        except (ApiError, ConfigError) as error:
            logger.error("no signature for the JS-SDK: %s", error)
            return _allowed(jsonify(error="WeChat's ticket cannot be had just now"), allowed), 503
        return _allowed(jsonify(signed), allowed)

    app.add_url_rule("/jssdk", view_func=jssdk)


def _given() -> tuple[str, bool]:
    """Return the page's address up to its ``#``, byte for byte, and whether that can be all of it."""
    url = request.args.get("url", "").partition("#")[0]
    query = request.query_string.partition(b"url=")[2].partition(b"?")[2]  # of the page, where it was not encoded
    return url, not {*b"&+"} & {*query}


def _signed(url: str) -> dict[str, Any]:
    # https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/JS-SDK.html
    client = get_api().client
    nonce, timestamp = secrets.token_hex(8), int(time.time())
    signature = client.jsapi.get_jsapi_signature(nonce, client.jsapi_ticket, timestamp, url)
    return {"appId": client.appid, "timestamp": timestamp, "nonceStr": nonce, "signature": signature}


def _is_of(url: str, allowed: set[str]) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() in allowed


def _allowed(response: Response, allowed: set[str]) -> Response:
    """Let pages of the allowed hosts read the response."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Origin"
    if _is_of(request.headers.get("Origin", ""), allowed):
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
    return response
