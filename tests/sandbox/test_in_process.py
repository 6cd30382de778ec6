"""A message that a developer delivers in a test of theirs."""

import threading
from collections.abc import Callable
from typing import Any

from app.sandbox.in_process import deliver
from app.sandbox.messages import text_message
from tests.actors import OPENID, Account


def slow(message: Any) -> str:
    threading.Event().wait(5.3)
    return "at last"


def test_a_slow_handler_is_waited_for_over_further_deliveries(account: Callable[..., Account]) -> None:
    outcome = deliver(account({"text": slow}).app, text_message(OPENID, "hi"))
    assert (outcome.shown, outcome.deliveries) == ("at last", 2)


def test_a_quick_one_is_delivered_once_and_silence_is_silence(account: Callable[..., Account]) -> None:
    app = account({"text": lambda message: message.content, ("text", "hush"): lambda message: None}).app
    said = [deliver(app, text_message(OPENID, text)) for text in ("hi", "hush")]
    assert [(outcome.shown, outcome.answered, outcome.deliveries) for outcome in said] == [
        ("hi", True, 1),
        ("", True, 1),
    ]
