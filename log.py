"""Logging for every process: one line a record on stderr, in one write, with every secret masked."""

import json
import logging
import os
import re
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

_STDERR = 2
_MASK = "***"
_PLAIN_VALUE = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f]+")
_SECRET_PARAMETER = re.compile(
    r"([?&](?:\w*token|\w*secret|\w*password|\w*signature|openid|ticket|code|echostr)=)[^&\s\"']+"
)
# Controls of 7 and 8 bits but \n and \t, what turns the direction of writing, other line ends, half characters.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NAME = "wechat"
_FOLLOW_SECONDS = 1.0


def configure(level: str, log_format: str, secrets: Iterable[str] = ()) -> None:
    """Log to stderr from ``level`` on, as ``text`` or ``json``; each of ``secrets`` is masked wherever it stands.

    Calling it again replaces what the first call set up and leaves other handlers alone.
    """
    root = logging.getLogger()
    for handler in _line_handlers():
        root.removeHandler(handler)
    formatter = (_JsonFormatter if log_format == "json" else _TextFormatter)(secrets)
    root.addHandler(LineHandler(formatter, _Stderr(_log_file()).write))
    root.setLevel(level)
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # of no interest to anybody
    logging.getLogger("urllib3").setLevel(max(logging.INFO, root.level))  # below, it prints addresses with their tokens


def add_listener(listener: Callable[[str], object], level: int = logging.NOTSET) -> None:
    """Give each line from ``level`` on to ``listener`` as well, as it is on stderr, until the next ``configure``."""
    handler = LineHandler(_line_handlers()[0].lines, listener)
    handler.setLevel(level)
    logging.getLogger().addHandler(handler)


def message(fields: Mapping[str, Any]) -> None:
    """Write the line of one message: what ``logging.info("message")`` would write, in a third of its time.

    On the road of every message, a record, its handlers and locks would cost as much as reading the XML. Other
    handlers than LineHandler, that somebody added to the root logger, do not get it.
    """
    root = logging.getLogger()
    if root.level <= logging.INFO:
        for handler in root.handlers:
            if isinstance(handler, LineHandler) and handler.level <= logging.INFO:
                handler.write(handler.lines.line(time.time(), "INFO", _NAME, "message", fields))


def visible(text: str) -> str:
    """Return ``text`` with what could command a terminal, or turn or end a line unseen, as ``\\u0085``."""
    return text if text.isprintable() else _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def masked(openid: str) -> str:
    """Return enough of an openid to follow one fan through the log, and too little to address them."""
    return f"{openid[:4]}{_MASK}{openid[-4:]}" if len(openid) > 12 else f"{openid[:2]}{_MASK}"


class Flood:
    """Lets ``most`` lines of every ``seconds`` be written: a flood of them must not fill the disk."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._until, self._said, self._unsaid = 0.0, 0, 0

    def unsaid(self) -> int | None:
        """Return how many have not been said since the last one that was; None where this one is not to be, either."""
        now = time.monotonic()
        with self._lock:
            if now >= self._until:
                self._until, self._said = now + self._seconds, 0
            if self._said >= self._most:
                self._unsaid += 1
                return None
            self._said += 1
            unsaid, self._unsaid = self._unsaid, 0
            return unsaid


class _Formatter(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        # Also as they look inside quotes.
        self._secrets = tuple({shown for secret in secrets for shown in (secret, json.dumps(secret)[1:-1])})
        words = "|".join(map(re.escape, sorted(self._secrets, key=len, reverse=True)))
        self._secret = re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])")
        self._second = (0, "", "")

    def format(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        fields = getattr(record, "fields", {})
        return self.line(record.created, record.levelname, record.name, record.getMessage(), fields, traceback)

    def line(
        self, created: float, level: str, name: str, text: str, fields: Mapping[str, Any], traceback: str = ""
    ) -> str:
        raise NotImplementedError

    def without_secrets(self, line: str) -> str:
        for secret in self._secrets:
            if secret in line:
                line = self._secret.sub(_MASK, line)
        return _SECRET_PARAMETER.sub(rf"\1{_MASK}", line) if "?" in line or "&" in line else line

    def time(self, created: float) -> str:
        """Return ISO 8601 with milliseconds and the zone; all but the milliseconds is made once a second."""
        second = int(created)
        made, text, zone = self._second
        if made != second:
            text, zone = time.strftime("%Y-%m-%dT%H:%M:%S.|%z", time.localtime(second)).split("|")
            self._second = second, text, zone
        return f"{text}{int(created % 1 * 1000):03d}{zone}"


class _TextFormatter(_Formatter):
    def line(
        self, created: float, level: str, name: str, text: str, fields: Mapping[str, Any], traceback: str = ""
    ) -> str:
        parts = [text.replace("\r", "\\r").replace("\n", "\\n")]
        for key, value in fields.items():
            shown = "-" if value is None else str(value)
            parts.append(f"{key}={shown if shown.isalnum() else _quoted(shown)}")
        # Indented: what an exception says must not pass for a line of ours.
        line = self.without_secrets(" ".join(parts) + (textwrap.indent(f"\n{traceback}", "    ") if traceback else ""))
        return visible(f"{self.time(created)} {level} {name} {line}")


class _JsonFormatter(_Formatter):
    def line(
        self, created: float, level: str, name: str, text: str, fields: Mapping[str, Any], traceback: str = ""
    ) -> str:
        line = {"time": self.time(created), "level": level, "logger": name, "message": text, **fields}
        if traceback:
            line["traceback"] = traceback
        return visible(self.without_secrets(json.dumps(line, ensure_ascii=False, default=str)))


class LineHandler(logging.Handler):
    """Gives each record to ``write``, as one line of ``lines``."""

    def __init__(self, lines: _Formatter, write: Callable[[str], object]) -> None:
        super().__init__()
        self.lines = lines
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.lines.format(record)
        except Exception:  # as every logging handler: a line that cannot be made must not cost the answer
            self.handleError(record)
        else:
            self.write(line)


class _Stderr:
    """Writes each line with one write: lines of several processes neither mix nor get lost.

    With systemd's LOGS_DIRECTORY, stderr is ``wechat.log`` there; within a second after logrotate has renamed it, a new
    one. (uWSGI can open its log anew, too, but only with its log-master, which loses lines.)
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._looked = path, 0.0
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        with suppress(OSError):  # a disk that is full costs the line, not the answer
            if self._path and time.monotonic() >= self._looked + _FOLLOW_SECONDS:
                self._look(self._path)
            os.write(_STDERR, (line + "\n").encode(errors="backslashreplace"))

    def _look(self, path: Path) -> None:
        # All who come meanwhile wait: what has not been written to for long may be compressed by now, and gone.
        with self._lock:
            if time.monotonic() >= self._looked + _FOLLOW_SECONDS:
                _follow(path)
                self._looked = time.monotonic()


def _line_handlers() -> list[LineHandler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, LineHandler)]


def _log_file() -> Path | None:
    folder = os.environ.get("LOGS_DIRECTORY")
    return Path(folder, "wechat.log") if folder else None


def _follow(path: Path) -> None:
    """Open what is at ``path`` as stderr, unless it is already."""
    with suppress(OSError):
        if path.stat().st_ino == os.fstat(_STDERR).st_ino:
            return
    with suppress(OSError):  # where it cannot be opened, what is open will do
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(opened, _STDERR)
        os.close(opened)


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return text if _PLAIN_VALUE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
