"""Logging for every process: one line a record on stderr, in one write, with every secret masked."""

import json
import logging
import os
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_STDERR = 2
_MASK = "***"
_PLAIN_VALUE = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f]+")
_SECRET_PARAMETER = re.compile(r"([?&](?:\w*token|\w*secret|\w*signature|openid|ticket|code|echostr)=)[^&\s\"']+")
_OWN_ATTRIBUTE = "_wechat_platform"


def configure(level: str, log_format: str, secrets: Iterable[str] = ()) -> None:
    """Log to stderr from ``level`` on, as ``text`` or ``json``; each of ``secrets`` is masked wherever it stands.

    Calling it again replaces what the first call set up and leaves other handlers alone.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if hasattr(handler, _OWN_ATTRIBUTE)]:
        root.removeHandler(handler)
    handler = _StderrHandler()
    setattr(handler, _OWN_ATTRIBUTE, True)
    handler.setFormatter((_JsonFormatter if log_format == "json" else _TextFormatter)(secrets))
    root.addHandler(handler)
    root.setLevel(level)


def masked(openid: str) -> str:
    """Return enough of an openid to follow one fan through the log, and too little to address them."""
    return f"{openid[:4]}{_MASK}{openid[-4:]}" if len(openid) > 12 else f"{openid[:2]}{_MASK}"


class MessageRecord(logging.LogRecord):
    """The record of one message, for ``logger.handle``.

    ``logger.info`` would cost a third of the callback's time: most of it goes into attributes that no line shows.
    """

    _made = logging.LogRecord("wechat", logging.INFO, "", 0, "message", None, None).__dict__

    def __init__(self, fields: dict[str, Any]) -> None:
        created = time.time()
        self.__dict__ = {**self._made, "created": created, "msecs": created % 1 * 1000, "fields": fields}


class _StderrHandler(logging.Handler):
    """Writes each record with one write: lines of several processes neither mix nor get lost."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(_STDERR, (self.format(record) + "\n").encode(errors="backslashreplace"))
        except Exception:  # as every logging handler: a line that cannot be written must not cost the answer
            self.handleError(record)


class _Formatter(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = tuple(secrets)
        words = "|".join(map(re.escape, sorted(self._secrets, key=len, reverse=True)))
        self._secret = re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])")
        self._second = (0, "", "")

    def without_secrets(self, line: str) -> str:
        for secret in self._secrets:
            if secret in line:
                line = self._secret.sub(_MASK, line)
        return _SECRET_PARAMETER.sub(rf"\1{_MASK}", line) if "?" in line or "&" in line else line

    def time(self, record: logging.LogRecord) -> str:
        """Return ISO 8601 with milliseconds and the zone; all but the milliseconds is made once a second."""
        second = int(record.created)
        made, text, zone = self._second
        if made != second:
            text, zone = time.strftime("%Y-%m-%dT%H:%M:%S.|%z", time.localtime(second)).split("|")
            self._second = second, text, zone
        return f"{text}{int(record.msecs):03d}{zone}"

    def traceback(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        parts = [record.getMessage().replace("\r", "\\r").replace("\n", "\\n")]
        for name, value in getattr(record, "fields", {}).items():
            text = "-" if value is None else str(value)
            parts.append(f"{name}={text if text.isalnum() else _quoted(text)}")
        text = " ".join(parts)
        if traceback := self.traceback(record):
            text += f"\n{traceback}"
        return f"{self.time(record)} {record.levelname} {record.name} {self.without_secrets(text)}"


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.time(record), "level": record.levelname, "logger": record.name}
        line["message"] = record.getMessage()
        line |= getattr(record, "fields", {})
        if traceback := self.traceback(record):
            line["traceback"] = traceback
        return self.without_secrets(json.dumps(line, ensure_ascii=False, default=str))


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return text if _PLAIN_VALUE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
