"""What all pages for a developer's or operator's browser share: who may see them, their language and their files."""

import time
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, request, send_from_directory

from app.near import is_near

_FILES = Path(__file__).parent / "static"
_LANGUAGES = ("zh", "en")
_HEADERS = {
    # Nothing comes from elsewhere, and nothing that a fan wrote can become a script or a style.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def pages(name: str, url_prefix: str) -> Blueprint:
    """Return a blueprint for pages of this machine alone, with the files of ``static/`` below it.

    In templates, ``say(chinese, english)`` is the one of the two that the browser wants, and ``language`` is which;
    ``clock(seconds)`` is the date and time of seconds since 1970.
    """
    blueprint = Blueprint(name, __name__, url_prefix=url_prefix)
    blueprint.before_request(_for_this_machine)
    blueprint.after_request(_with_headers)
    blueprint.context_processor(lambda: {"say": say, "language": language(), "clock": clock})
    blueprint.add_url_rule("/static/<path:file>", "static", _file)
    return blueprint


def language() -> str:
    """Return the one of the two languages that the browser wants: zh or en."""
    return request.accept_languages.best_match(_LANGUAGES) or "en"


def say(chinese: str, english: str) -> str:
    """Return the text in the language that the browser wants."""
    return chinese if language() == "zh" else english


def clock(seconds: float) -> str:
    """Return the date and time of this machine at ``seconds`` since 1970."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _for_this_machine() -> None:
    if not is_near(request.environ):
        abort(403)
    # A page of another site in the same browser must not press buttons here.
    origin = request.headers.get("Origin", "")
    if request.method not in ("GET", "HEAD") and origin.partition("://")[2] != request.host:
        abort(403)


def _with_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _file(file: str) -> Any:
    response = send_from_directory(_FILES, file)
    response.headers["Cache-Control"] = "no-cache"  # asked for anew, and sent where it has changed
    return response
