"""Those of the load, and two more: one counts in the session, one computes. WECHAT_HANDLERS=tests.accounts.handlers"""

import re
import time
from typing import Any

from tests.load import handlers


def count(message: Any) -> str:
    message.session["count"] = message.session.get("count", 0) + 1
    return f"message {message.session['count']}"


def compute(message: Any) -> str:
    ends = time.monotonic() + float(message.match["seconds"])
    while time.monotonic() < ends:
        pass
    return f"computed for {message.match['name']}"


HANDLERS = {
    ("text", re.compile("count.*")): count,
    ("text", re.compile(r"compute (?P<seconds>[\d.]+) (?P<name>\S+)")): compute,
    **handlers.HANDLERS,
}
