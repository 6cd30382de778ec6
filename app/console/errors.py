"""The last errors in the log, of all processes of this uWSGI."""

import re
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

_MOST_BYTES = 64 * 1024
_MOST_SHOWN = 20
_MOST_CHARACTERS = 2000


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
            text = f"{line[:_MOST_CHARACTERS]}\n".encode(errors="backslashreplace")
            if self._file.exists() and self._file.stat().st_size + len(text) > _MOST_BYTES:
                text = self._file.read_bytes()[-_MOST_BYTES // 2 :].partition(b"\n")[2] + text
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
                lines += re.split(r"\n(?=\S)", path.read_text(encoding="utf-8", errors="replace").strip())
        return sorted(filter(None, lines), reverse=True)[:_MOST_SHOWN]
