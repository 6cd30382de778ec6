"""Carries what a fan of the phone does to the callback, as WeChat's server does, and keeps what came of it."""

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from app.callback.seal import Seal
from app.config import Settings
from app.sandbox.phone import Attempt, Phone
from app.sandbox.state import State

MESSAGE_HEADER = "X-Sandbox-Message"
"""The number of the message, by which the log lines of its handling are found."""
FAULTS = ("", "twice", "late", "forged")
_LATE_SECONDS = 60
_FORGERS_TOKEN = "tokenOfAForger"  # noqa: S105 (anybody's but the account's)


class Courier:
    """Carries messages for the account of ``settings``; ``state`` is where it is all kept."""

    def __init__(self, settings: Settings, state: State) -> None:
        self._settings = settings
        self._state = state
        self._seal = Seal(settings.encoding_aes_key, settings.appid) if settings.encoding_aes_key else None

    def send(self, url: str, openid: str, message: str, fault: str, session: dict[str, Any]) -> int:
        """Deliver the XML ``message`` to the callback at ``url`` from now on, and return the message's number.

        ``session`` is the fan's now, which is remembered with it.

        With a fault: "twice" delivers it twice at once, "late" long after it was signed, "forged" is signed with
        another token.
        """
        number = self._state.add("said", {"openid": openid, "xml": message, "fault": fault, "session": session})
        carry = partial(self._carry, number, url, openid, message, fault)
        threading.Thread(target=contextvars.Context().run, args=(carry,), name="courier", daemon=True).start()
        return number

    def _carry(self, number: int, url: str, openid: str, message: str, fault: str) -> None:
        token = _FORGERS_TOKEN if fault == "forged" else self._settings.token
        age_seconds = self._settings.max_skew_seconds + _LATE_SECONDS if fault == "late" else 0
        mode = self._settings.encrypt_mode
        with Phone(url, token, openid, mode, self._seal, age_seconds=age_seconds) as phone:
            phone.headers[MESSAGE_HEADER] = str(number)
            note: Callable[[Attempt], Any] = partial(self._note, number)
            if fault == "twice":
                beside = threading.Thread(target=phone.attempt, args=(*phone.envelope(message), 1, note), daemon=True)
                beside.start()
            outcome = phone.deliver(message, note)
            if fault == "twice":
                beside.join()
        said = {"message": number, "openid": openid, "is_failure": not outcome.answered, "reason": outcome.reason}
        self._state.add("answer", said | {"xml": outcome.reply, "shown": outcome.shown})

    def _note(self, number: int, attempt: Attempt) -> None:
        shown = {"message": number, "body": _text(attempt.body), "answer": _text(attempt.answer)}
        self._state.add("delivery", attempt._asdict() | shown)


def _text(body: bytes) -> str:
    return body.decode(errors="replace")
