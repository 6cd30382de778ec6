"""What the text of a setting may be: each check returns the value, or raises ValueError."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

Check = Callable[[str], Any]
MOST_PASSWORD_CHARACTERS = 200
_HASH = re.compile(
    r"(scrypt:\d+:\d+:\d+|pbkdf2:sha512:\d+)\$[^$]+\$[0-9a-f]{128}|pbkdf2:sha256:\d+\$[^$]+\$[0-9a-f]{64}"
)
_HOST = r"[A-Za-z0-9.-]+(:[0-9]+)?"


def pattern(pattern: str) -> Check:
    """Take what the regular expression matches whole."""

    def check(raw: str) -> str:
        if not re.fullmatch(pattern, raw):
            raise ValueError(raw)
        return raw

    return check


def one_of(*choices: str) -> Check:
    """Take one of ``choices``."""
    return pattern("|".join(map(re.escape, choices)))


def whole_number(low: int, high: int) -> Check:
    """Take an int from ``low`` to ``high``."""

    def check(raw: str) -> int:
        number = int(raw) if re.fullmatch(r"[0-9]{1,9}", raw) else -1
        if not low <= number <= high:
            raise ValueError(raw)
        return number

    return check


def url(raw: str) -> str:
    """Take an http or https URL with a host; a slash at its end is dropped."""
    parts = urlsplit(raw)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", raw):
        raise ValueError(raw)
    _ = parts.port  # raises for one that is none
    return raw.rstrip("/")


def hosts(raw: str) -> tuple[str, ...]:
    """Take names of hosts, with a port or without, separated by commas."""
    names = tuple(name.strip().lower() for name in raw.split(","))
    if not all(re.fullmatch(_HOST, name) for name in names):
        raise ValueError(raw)
    return names


def aes_key(raw: str) -> str:
    """Take an EncodingAESKey."""
    try:
        key = base64.b64decode(raw + "=", validate=True)
    except binascii.Error as error:
        raise ValueError(raw) from error
    if len(raw) != 43 or len(key) != 32:
        raise ValueError(raw)
    return raw


def text(most_bytes: int) -> Check:
    """Take a text that is not empty, of at most ``most_bytes`` of UTF-8."""

    def check(raw: str) -> str:
        written = raw.replace("\\n", "\n")  # a backslash and an n are a line break, in the file and in the environment
        if not written.strip() or len(written.encode()) > most_bytes:
            raise ValueError(raw)
        return written

    return check


def is_hash(password: str) -> bool:
    """Tell whether ``password`` is the hash of one, as werkzeug writes it."""
    return _HASH.fullmatch(password) is not None


def password(raw: str) -> str:
    """Take a password of 8 to 200 characters, or the hash of one."""
    is_cut = raw.startswith(("scrypt:", "pbkdf2:")) and not is_hash(raw)
    if is_cut or len(raw.strip()) < 8 or len(raw) > MOST_PASSWORD_CHARACTERS:
        raise ValueError(raw)
    return raw


def log_level(raw: str) -> str:
    """Take a level's name in upper or lower case."""
    return str(one_of("DEBUG", "INFO", "WARNING", "ERROR")(raw.upper()))


def flag(raw: str) -> bool:
    """Take 1 for on and 0 for off."""
    return bool(one_of("0", "1")(raw) == "1")
