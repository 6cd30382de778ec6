"""What of a text reaches a fan."""

import re
from typing import Any

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def without_forbidden(text: str) -> str:
    """Return ``text`` without the characters that no XML can hold."""
    return text if text.isprintable() else _FORBIDDEN.sub("", text)  # what is printable, XML holds


def is_blank(value: Any) -> bool:
    """Tell whether nothing to be seen of ``value`` would reach a fan."""
    return value is None or not without_forbidden(str(value)).strip()
