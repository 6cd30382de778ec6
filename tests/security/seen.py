"""The application, saying in each answer and in its log what nginx told it of the request."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from runserver import application as wechat

_NAMES = ("SCRIPT_NAME", "PATH_INFO", "REQUEST_METHOD", "REMOTE_ADDR", "IS_NEAR", "RECEIVED_AT", "SERVER_NAME")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer as the application does, with the header Seen: JSON of what it was told."""
    seen = json.dumps({name: environ[name] for name in _NAMES if name in environ})
    os.write(2, f"seen {seen}\n".encode())

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        return start_response(status, [*headers, ("Seen", seen)], *rest)

    return wechat(environ, start)
