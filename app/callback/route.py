"""The door: one Flask route, and the one place where an error becomes an HTTP status."""

import logging
import time
from collections.abc import Iterable, Mapping
from http import HTTPMethod
from operator import methodcaller
from typing import Any
from urllib.parse import parse_qsl

from flask import Flask, Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge

import log
from app import metrics
from app.callback.road import Road
from app.errors import BadCallback, BadCiphertext, BadMessage, BadSignature, BodyTooLarge
from app.once.caller import no_response

BODY_LIMIT_BYTES = 64 * 1024
_STATUS = {BadSignature: 403, BadCiphertext: 403, BadMessage: 400, BodyTooLarge: 413}
_ANSWER = {403: b"forbidden", 400: b"bad request", 413: b"too large"}
_REFUSALS_SAID_A_SECOND = 20
_split_pair = methodcaller("partition", "=")
logger = logging.getLogger("wechat")


class _Plain(Response):
    """A response of known bytes and type: what werkzeug works out for any other, this one has already."""

    def __init__(self, body: bytes, content_type: str = "text/plain", status: int | None = None) -> None:
        headers = Headers()
        headers.add_header("Content-Type", content_type)
        super().__init__((body,), status, headers)
        self._body = body

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response(self.status, [*self.headers, ("Content-Length", str(len(self._body)))])
        return (self._body,)


class _NoResponse(Response):
    """No response, where the connection is held or has ended."""

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        return no_response(environ, start_response)


def add_callback(app: Flask, path: str, road: Road) -> None:
    """Put the callback on ``app`` at ``path``: GET for the configuration page's check, POST for messages."""

    def callback() -> Response:
        environ = request.environ
        query = _query(environ.get("QUERY_STRING", ""))
        method = environ["REQUEST_METHOD"]
        if method == "POST":
            reply = road.receive(query, _body(environ), environ, _waited_seconds(environ))
            return _NoResponse() if reply is None else _Plain(*reply)
        if method != "GET":
            return _not_allowed()
        echo = _Plain(road.verify(query).encode("latin-1"))
        echo.headers["X-Content-Type-Options"] = "nosniff"
        return echo

    # All that HTTP has, so that none is answered with werkzeug's own list, which has HEAD.
    app.add_url_rule(path, view_func=callback, methods=HTTPMethod, provide_automatic_options=False)
    refusals = log.Flood(_REFUSALS_SAID_A_SECOND, 1.0)
    app.register_error_handler(BadCallback, lambda error: _refuse(error, refusals))


def _not_allowed() -> Response:
    response = _Plain(b"method not allowed", status=405)
    response.headers["Allow"] = "GET, POST"
    return response


def _query(raw: str) -> dict[str, str]:
    if "%" in raw or "+" in raw:
        # Latin-1 keeps each byte, so that echostr goes back as it came.
        pairs = parse_qsl(raw, keep_blank_values=True, encoding="latin-1")
    else:  # what WeChat sends in a message's query: nothing to decode
        pairs = [(name, value) for name, _, value in map(_split_pair, raw.split("&"))]
    query = dict(pairs)
    if len(query) != len(pairs):
        raise BadSignature("a parameter of the query comes twice")
    return query


def _body(environ: Mapping[str, Any]) -> bytes:
    """Read the body, of at most 64 KiB: straight from the server where it says how long it is."""
    length = environ.get("CONTENT_LENGTH") or ""
    try:
        if not length.isdecimal():
            return _body_of_unknown_length()
        if len(length) > 9 or int(length) > BODY_LIMIT_BYTES:
            raise BodyTooLarge(f"a body of {length[:20]} bytes")
        body: bytes = environ["wsgi.input"].read(int(length))
    except OSError as error:
        raise BadMessage("the body broke off") from error
    if len(body) != int(length):
        raise BadMessage("the body broke off")
    return body


def _body_of_unknown_length() -> bytes:
    request.max_content_length = BODY_LIMIT_BYTES
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise BodyTooLarge(f"a body of more than {BODY_LIMIT_BYTES} bytes") from error


def _waited_seconds(environ: Mapping[str, Any]) -> float:
    """Return how long this request stood in a queue before uWSGI took it; without nginx that is not known, and 0."""
    received = environ.get("RECEIVED_AT")  # nginx/params sets it, no client can
    return max(time.time() - float(received), 0.0) if received else 0.0


def _refuse(error: BadCallback, refusals: log.Flood) -> Any:
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    metrics.REFUSED.labels(error.reason).inc()
    if (unsaid := refusals.unsaid()) is not None:
        fields = {"status": status, "from": request.remote_addr, "reason": str(error)}
        logger.warning("refused", extra={"fields": fields | ({"unsaid": unsaid} if unsaid else {})})
    return _Plain(_ANSWER[status], status=status)
