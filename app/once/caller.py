"""Who made a delivery, and the connection on which it is answered.

A worker of uWSGI lets go of a request that waits: a duplicate of its connection is kept, and whoever has the answer
writes the response. On any other server a thread waits in the request.
"""

import contextvars
import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from app.once.answer import Answer

_SEND_SECONDS = 2.0
_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"


class Reply(NamedTuple):
    """What goes over the wire."""

    body: bytes
    content_type: str


class Ending(Protocol):
    """What the road does with a delivery's answer: the reply is made before it is sent, its line in the log after."""

    def reply(self, answer: Answer) -> Reply:
        """Return what is sent."""

    def note(self, number: int, answer: Answer) -> None:
        """Count and log the delivery."""


class HeldConnection:
    """A caller whose connection is kept beyond the request, in the same context."""

    is_seen = True

    def __init__(self, ending: Ending, environ: Mapping[str, Any]) -> None:
        self._ending = ending
        self._descriptor = int(sys.modules["uwsgi"].connection_fd())
        self._kept: socket.socket | None = None
        self._context: contextvars.Context | None = None

    def hold(self) -> int:
        """Keep the connection; raises OSError where no descriptor is left."""
        self._kept = socket.socket(fileno=os.dup(self._descriptor))
        self._context = contextvars.copy_context()
        return self._kept.fileno()

    def let_go(self) -> None:
        """Close what was kept; the request's own connection stays."""
        self._taken().close()

    def is_gone(self) -> bool:
        """Tell whether the other side has hung up."""
        kept = self._kept
        return _has_hung_up(kept.fileno() if kept else self._descriptor)

    def reply(self, number: int, answer: Answer) -> bool:
        """Write the response; return False where the other side had gone."""
        assert self._context  # noqa: S101 (it is held)
        return self._context.run(self._reply, number, answer)

    def _reply(self, number: int, answer: Answer) -> bool:
        reply, is_sent = self._ending.reply(answer), True
        head = (_HEAD % (reply.content_type, len(reply.body))).encode()
        with self._taken() as connection:
            try:
                connection.settimeout(_SEND_SECONDS)
                connection.sendall(head + reply.body, socket.MSG_NOSIGNAL)
            except OSError:
                is_sent = False
        self._ending.note(number, answer if is_sent else answer._replace(outcome="waited"))
        return is_sent

    def drop(self, number: int, answer: Answer) -> None:
        """Close the connection without a word."""
        if self._kept and self._context:
            self._taken().close()
            self._context.run(self._ending.note, number, answer)
        else:  # the request ends with no response
            self._ending.note(number, answer)

    def wait(self) -> Answer | None:
        """Return None: nobody waits here."""
        return None

    def _taken(self) -> socket.socket:
        kept, self._kept = self._kept, None
        assert kept  # noqa: S101 (whoever ends a held delivery is the only one)
        return kept


class WaitingThread:
    """A caller in whose request a thread waits."""

    def __init__(self, ending: Ending, environ: Mapping[str, Any]) -> None:
        self._ending = ending
        self._ended = threading.Event()
        self._answer: Answer | None = None
        connection = environ.get("werkzeug.socket") or environ.get("gunicorn.socket")
        self._descriptor: int = connection.fileno() if connection else -1
        self.is_seen = connection is not None

    def hold(self) -> int:
        """Return the connection's descriptor."""
        return self._descriptor

    def let_go(self) -> None:
        """Do nothing: the request has the connection."""

    def is_gone(self) -> bool:
        """Tell whether the other side has hung up, as far as that can be seen."""
        return self.is_seen and _has_hung_up(self._descriptor)

    def reply(self, number: int, answer: Answer) -> bool:
        """Give the answer to the thread that waits."""
        self._answer = answer
        self._ended.set()
        return True

    def drop(self, number: int, answer: Answer) -> None:
        """Let the thread go without an answer."""
        self._ending.note(number, answer)
        self._ended.set()

    def wait(self) -> Answer | None:
        """Wait for the answer; return None where the delivery was dropped."""
        self._ended.wait()
        return self._answer


Caller = HeldConnection | WaitingThread


def kind_of_caller() -> Callable[[Ending, Mapping[str, Any]], Caller]:
    """Return what callers are on this server."""
    uwsgi = sys.modules.get("uwsgi")
    # Over TLS of uWSGI's own, the descriptor is not what the answer is written to.
    return WaitingThread if uwsgi is None or "https-socket" in uwsgi.opt else HeldConnection


def no_response(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    """End a request without a response: under uWSGI, the connection is held, or closed without a word."""
    if "uwsgi" not in sys.modules:  # there, a response must be made: one that WeChat takes for none
        start_response("503 Service Unavailable", [("Content-Length", "0"), ("Content-Type", "text/plain")])
    return ()


def _has_hung_up(descriptor: int) -> bool:
    poll = select.poll()
    with suppress(OSError):
        poll.register(descriptor, select.POLLRDHUP)
        return bool(poll.poll(0))
    return True
