"""What the database keeps of what the callback saw: scans and follows by scene, and that fans are gone."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from flask import Flask
from sqlalchemy import bindparam, delete, update

from app.errors import Conflict, StoreError
from app.store import transaction
from app.store.models import Fan, SceneCount
from app.store.text import readable

_FORGET_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0
_MOST_PENDING = 100_000
_SCENE_CHARACTERS = 64
# Not one who has come back since.
_DELETE_FAN = delete(Fan.__table__).where(  # type: ignore[arg-type]
    Fan.appid == bindparam("of"), Fan.openid == bindparam("leaver"), Fan.last_login_at <= bindparam("left_at")
)
logger = logging.getLogger("wechat.store")


class _Pending:
    """What is still to be written: (scene, day, "scans" or "follows") with its count, and who left, with when."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.gone: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.counts) + len(self.gone)

    def take_back(self, other: Self) -> None:
        self.counts.update(other.counts)
        self.gone = other.gone | self.gone


class Recorder:
    """Writes beside the message's road, so that a database that is slow or down costs no answer.

    What cannot be written is tried again, as long as this process lives.
    """

    def __init__(self, app: Flask, appid: str) -> None:
        self._app = app
        self._appid = appid
        self._changed = threading.Condition()
        self._pending = _Pending()
        self._writing = _Pending()
        self._is_running = False

    def note(self, message: Any) -> None:
        """Count the scan or follow that ``message`` is; for one who leaves, wait a little for the end of their data."""
        by_code = message.event == "scan" or str(message.event_key).startswith("qrscene_")
        if by_code and message.scene and message.event in ("scan", "subscribe"):
            kind = "scans" if message.event == "scan" else "follows"
            day = time.strftime("%Y-%m-%d")
            self._add(lambda pending: pending.counts.update([(str(message.scene)[:_SCENE_CHARACTERS], day, kind)]))
        elif openids := message.leaving:
            now = int(time.time())
            self._add(lambda pending: pending.gone.update(dict.fromkeys(openids, now)))
            with self._changed:
                self._changed.wait_for(lambda: not openids & self._gone(), _FORGET_SECONDS)

    def _gone(self) -> set[str]:
        return self._pending.gone.keys() | self._writing.gone.keys()

    def _add(self, add: Callable[[_Pending], object]) -> None:
        with self._changed:
            if len(self._pending) >= _MOST_PENDING:
                logger.error("too much waits for the database; a scan or a fan's leaving is not recorded")
                return
            add(self._pending)
            if not self._is_running:
                with suppress(RuntimeError):  # no thread to be had: the next message tries again
                    threading.Thread(target=self._run, name="recorder", daemon=True).start()
                    self._is_running = True

    def _run(self) -> None:
        pause = 0.0
        while self._take():
            try:
                with self._app.app_context():
                    self._write()
                pause = 0.0
            except Conflict:  # another process was first to count this scene today
                pause = 0.01
            except Exception as error:  # whatever it is: what is pending must not be lost with this thread
                pause = min(pause * 2 or 1.0, _LONGEST_PAUSE_SECONDS)
                trace = None if isinstance(error, StoreError) else error
                logger.error("not recorded yet, tried again in %.0f s: %s", pause, error, exc_info=trace)
            if pause:
                with self._changed:
                    self._pending.take_back(self._writing)
                    self._writing = _Pending()
                time.sleep(pause)

    def _take(self) -> bool:
        with self._changed:
            self._writing, self._pending = self._pending, _Pending()
            self._is_running = len(self._writing) > 0
            self._changed.notify_all()
            return self._is_running

    @readable  # one scene that cannot be written must not keep all others waiting
    def _write(self) -> None:
        with transaction() as session:
            if self._writing.gone:
                gone = sorted(self._writing.gone.items())
                session.execute(_DELETE_FAN, [{"of": self._appid, "leaver": who, "left_at": at} for who, at in gone])
            # In one order everywhere: two processes that change the same rows would lock each other out.
            for (scene, day, kind), count in sorted(self._writing.counts.items()):
                column = getattr(SceneCount, kind)
                its = (SceneCount.appid == self._appid, SceneCount.scene == scene, SceneCount.day == day)
                if not session.execute(update(SceneCount).where(*its).values({column: column + count})).rowcount:  # type: ignore[attr-defined]
                    row = {"scans": 0, "follows": 0, kind: count}
                    session.add(SceneCount(appid=self._appid, scene=scene, day=day, **row))
                    session.flush()
