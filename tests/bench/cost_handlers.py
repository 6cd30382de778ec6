"""Handlers whose cost is measured. WECHAT_HANDLERS=tests.bench.cost_handlers"""

import re
from typing import Any

from tests.load import handlers


def count(message: Any) -> str:
    """Say how often this fan has asked."""
    message.session["count"] = message.session.get("count", 0) + 1
    return f"count {message.match['name']}"


HANDLERS = {**handlers.HANDLERS, ("text", re.compile(r"count (?P<name>\S+)")): count}
