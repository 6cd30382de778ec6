"""Room for messages: pages that ask WeChat's API, and wait when it is silent, never take all threads of a process."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

# Where a request may wait for WeChat's API, for 16 seconds at worst.
_ASKING = ("/oauth/", "/jssdk", "/console")
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Room:
    """Lets ``most`` of these requests in at once, and answers 503 to the others."""

    def __init__(self, application: Application, most: int) -> None:
        self._application = application
        self._room = threading.BoundedSemaphore(most)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith(_ASKING):
            return self._application(environ, start_response)
        if not self._room.acquire(blocking=False):
            body = b"too many at once; try again in a moment\n"
            headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Retry-After", "2")]
            start_response("503 Service Unavailable", headers)
            return [body]
        try:
            return self._application(environ, start_response)
        finally:
            self._room.release()
