"""The door of those who watch the service: ``/healthz``, ``/readyz`` and ``/metrics``."""

import logging
import threading
import time
from collections.abc import Callable

from flask import Flask, Response, abort, request
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import text

from app import metrics
from app.cache import Cache
from app.errors import StoreError
from app.near import is_near
from app.store import transaction
from app.table.dispatch import Table

READY_SECONDS = 1.0
logger = logging.getLogger("wechat.health")


def add_health(app: Flask, cache: Cache, table: Table) -> Callable[[], dict[str, bool]]:
    """Put the three pages on ``app``, and return what looks whether cache, database and handlers are ready."""
    fills: dict[str, float] = {}

    def cache_answers() -> bool:
        nonlocal fills
        fills = cache.fills()
        for room, fill in fills.items():
            metrics.CACHE_FILL.labels(room).set(fill)
        return cache.answers()

    probes = {"cache": _Probe(cache_answers), "database": _Probe(lambda: _has_answered(app))}

    def look() -> dict[str, bool]:
        """Return what of that which a message needs has answered within a second."""
        give_up = time.monotonic() + READY_SECONDS
        asked = {name: probe.ask() for name, probe in probes.items()}
        is_ready = {name: question.has_answered(give_up) for name, question in asked.items()}
        is_ready["handlers"] = bool(table.rows)
        for name, is_so in is_ready.items():
            metrics.READY.labels(name).set(is_so)
        return is_ready

    def healthz() -> Response:
        """GET /healthz: this process is up."""
        return _plain("ok\n")

    def readyz() -> Response:
        """GET /readyz: what a message needs answers within a second, else 503; and how full the cache is."""
        is_ready = look()
        lines = [f"{name}: {'ok' if is_so else 'not ready; the log says why'}\n" for name, is_so in is_ready.items()]
        lines += [f"cache, room of {room}: {fill:.0%} full\n" for room, fill in fills.items()]
        return _plain("".join(lines), 200 if all(is_ready.values()) else 503)

    def figures() -> Response:
        """GET /metrics: for Prometheus."""
        if not is_near(request.environ):
            abort(403)
        look()
        return Response(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    app.add_url_rule("/metrics", view_func=figures)
    return look


class _Question:
    """One question, asked in a thread of its own: nobody waits for longer than they like."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._answered = False
        self.thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self.thread.start()

    def has_answered(self, give_up: float) -> bool:
        """Wait for the answer until ``give_up`` (monotonic), and return whether all is well."""
        self.thread.join(max(give_up - time.monotonic(), 0))
        return self._answered

    def _run(self) -> None:
        self._answered = self._ask()


class _Probe:
    """Asks one question at a time, however many want to know: what does not answer must not hold up a thread each."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._last: _Question | None = None

    def ask(self) -> _Question:
        """Ask, or join who is asking."""
        with self._lock:
            if self._last is None or not self._last.thread.is_alive():
                self._last = _Question(self._ask)
            return self._last


def _has_answered(app: Flask) -> bool:
    try:
        with app.app_context(), transaction() as session:
            session.execute(text("SELECT 1"))
    except StoreError as error:
        logger.warning("not ready: %s", error)
        return False
    return True


def _plain(body: str, status: int = 200) -> Response:
    response = Response(body, status, content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response
