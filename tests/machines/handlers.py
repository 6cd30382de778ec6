"""The handlers of the load, and one that needs WeChat's API. WECHAT_HANDLERS=tests.machines.handlers"""

import hashlib
import re
from typing import Any

from app.api import get_client
from tests.load import handlers


def say_token(message: Any) -> str:
    """Say which access token this process has, without saying it."""
    return hashlib.sha256(get_client().access_token.encode()).hexdigest()[:8]


HANDLERS = {**handlers.HANDLERS, ("text", re.compile(r"token \S+")): say_token}
