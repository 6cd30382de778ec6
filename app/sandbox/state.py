"""What the played WeChat remembers: in one SQLite file, so that all processes play the same account."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

_BUSY_SECONDS = 10
_MOST_RECORDS = 10_000
_TABLES = """
    CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY CHECK (id = 1), data TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, at REAL NOT NULL,
        data TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS media (id TEXT PRIMARY KEY, type TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL);
    INSERT OR IGNORE INTO account VALUES (1, '{}');
"""


class State:
    """The account's data as one dict, the records of calls and messages, and uploaded media."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_made = False

    @contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        """Give the account's dict to be read and changed, one caller of all processes at a time."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            before = connection.execute("SELECT data FROM account").fetchone()[0]
            account: dict[str, Any] = json.loads(before)
            yield account
            after = json.dumps(account)  # in ASCII: half an emoji has no UTF-8
            if after != before:
                connection.execute("UPDATE account SET data = ?", (after,))
            connection.commit()

    def add(self, kind: str, data: dict[str, Any]) -> int:
        """Record ``data``, with the time, and return its number; the oldest records are forgotten."""
        with self._connected() as connection:
            row = (kind, time.time(), json.dumps(data))
            last = connection.execute("INSERT INTO record (kind, at, data) VALUES (?, ?, ?)", row).lastrowid or 0
            connection.execute("DELETE FROM record WHERE id <= ?", (last - _MOST_RECORDS,))
            connection.commit()
        return last

    def records(self, kind: str, **having: Any) -> list[dict[str, Any]]:
        """Return what was recorded of this kind, the oldest first, with these values in it.

        In each, ``number`` and ``at``, in seconds since 1970, are added.
        """
        return self._found(kind, {f"json_extract(data, '$.{name}')": value for name, value in having.items()})

    def record(self, kind: str, number: int) -> dict[str, Any] | None:
        """Return one record of this kind by its number, or None."""
        return next(iter(self._found(kind, {"id": number})), None)

    def _found(self, kind: str, having: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = "".join(f" AND {name} = ?" for name in having)
        query = f"SELECT id, at, data FROM record WHERE kind = ?{wanted} ORDER BY id"  # noqa: S608 (names of ours)
        with self._connected() as connection:
            rows = connection.execute(query, (kind, *having.values()))
            return [{"number": number, "at": at, **json.loads(data)} for number, at, data in rows]

    def keep_media(self, media_id: str, media_type: str, name: str, data: bytes) -> None:
        """Keep an uploaded file."""
        with self._connected() as connection:
            connection.execute("INSERT INTO media VALUES (?, ?, ?, ?)", (media_id, media_type, name, data))
            connection.commit()

    def media(self, media_id: str) -> tuple[str, bytes] | None:
        """Return the name and the content of an uploaded file, or None."""
        with self._connected() as connection:
            found = connection.execute("SELECT name, data FROM media WHERE id = ?", (media_id,)).fetchone()
        return found and (str(found[0]), bytes(found[1]))

    def media_type(self, media_id: str) -> str:
        """Return the type of an uploaded file, "" where there is none."""
        with self._connected() as connection:
            found = connection.execute("SELECT type FROM media WHERE id = ?", (media_id,)).fetchone()
        return str(found[0]) if found else ""

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        if not self._is_made:  # here, so that nothing is made where nobody plays
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT, 0o600))
        # One a call: it is used by many threads, and opening costs less than a request.
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as connection:
            if not self._is_made:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(_TABLES)
                self._is_made = True
            connection.execute("PRAGMA synchronous=OFF")
            yield connection
