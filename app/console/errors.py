"""The last errors in the log, of all processes of this uWSGI."""

import re
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

_MOST_BYTES = 64 * 1024
_MOST_SHOWN = 20
_MOST_CHARACTERS = 2000
# What is indented belongs to the line before it.
_FIRST_LINE = re.compile(rb"\n(?=\S)")


class LastErrors:
    """Takes the lines of errors, each process into a file of its own in ``folder``; without one, in memory."""

    def __init__(self, folder: Path | None, worker: int) -> None:
        self._folder = folder
        self._file = folder and folder / f"errors_{worker}.log"
        self._lock = threading.Lock()
        self._own: deque[str] = deque(maxlen=_MOST_SHOWN)

    def note(self, line: str) -> None:
        """Keep the line, which may hold a traceback below it."""
        with self._lock, suppress(OSError):  # a disk that is full must not cost an answer
            if self._file is None:
                self._own.append(line)
                return
            text = f"{_shortened(line)}\n".encode(errors="backslashreplace")
            if self._file.exists() and self._file.stat().st_size + len(text) > _MOST_BYTES:
                text = _FIRST_LINE.split(self._file.read_bytes()[-_MOST_BYTES // 2 :], maxsplit=1)[-1] + text
                self._file.unlink()
            with self._file.open("ab") as file:
                file.write(text)

    def last(self) -> list[str]:
        """Return the latest, the newest first."""
        if self._folder is None:
            return list(reversed(self._own))
        lines: list[str] = []
        for path in self._folder.glob("errors_*.log"):
            with suppress(OSError):
                lines += re.split(r"\n(?=\S)", path.read_text(encoding="utf-8", errors="replace").rstrip())
        return sorted(filter(None, lines), reverse=True)[:_MOST_SHOWN]


def _shortened(line: str) -> str:
    """Return the line without its middle, where it is long: a traceback says why at its end."""
    if len(line) <= _MOST_CHARACTERS:
        return line
    return f"{line[: _MOST_CHARACTERS // 4]}\n    …\n    {line[-_MOST_CHARACTERS * 3 // 4 :].lstrip()}"
