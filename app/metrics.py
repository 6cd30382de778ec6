"""What the service counts, for ``/metrics``; right over all processes of one uWSGI.

Each worker has its figures in a file that a worker of the same number, started anew, goes on with: so a reload or a
dead worker takes nothing along, and there are never more files than workers.
"""

import json
import logging
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import values as prometheus_values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

# All that a worker's file will hold: it never grows, since on a disk that is full that would kill the worker.
_FILE_BYTES = dict.fromkeys(("counter", "summary"), 2048 * 1024)
_FILE_BYTES |= dict.fromkeys(("histogram", "gauge_livesum", "gauge_mostrecent"), 64 * 1024)
_MOST_VALUES = {"row": 400}  # rows are the developer's own
_MOST_VALUES_OTHERWISE, _MOST_CHARACTERS, _MOST_ROW_CHARACTERS = 100, 100, 60
_OTHER = "other"
_NUMBERS = ("first", "second", "third")
_seen: dict[str, set[str]] = {}
Sample = tuple[str, dict[str, str], float]
"""A figure: its name, its labels, its value."""
logger = logging.getLogger("wechat.metrics")


def _bounded(label: str, value: str) -> str:
    """Return ``value``, or "other" where there are too many of its label: each is kept for ever."""
    seen = _seen.setdefault(label, set())
    if value not in seen:
        if len(seen) >= _MOST_VALUES.get(label, _MOST_VALUES_OTHERWISE) or len(value) > _MOST_CHARACTERS:
            return _OTHER
        seen.add(value)
    return value


def _prepare(folder: Path, worker: int, workers: int) -> bool:
    """Make this worker's files, and sweep what nobody continues; return whether that could be done."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.glob("gauge_*.db"):
            number = path.stem.rpartition("_")[2]
            if not number.isdecimal() or int(number) > workers:
                path.unlink(missing_ok=True)
        for kind, size in _FILE_BYTES.items():
            path = folder / f"{kind}_{worker}.db"
            if not _has_been_read(path):
                path.unlink(missing_ok=True)
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        logger.error("/metrics shows one worker's figures alone: %s: %s", folder, error.strerror)
        return False
    return True


def _has_been_read(path: Path) -> bool:
    """Note which values the labels have in the file; return False where it is damaged."""
    with suppress(FileNotFoundError):
        try:
            for key, *_ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
                for label, value in json.loads(key)[2].items():
                    _bounded(label, value)
        except (RuntimeError, ValueError, struct.error):  # of a machine that went down in the middle
            return False
    return True


def _of_this_process() -> bool:
    """Choose where the figures are; return whether they are of this process alone."""
    uwsgi, folder = sys.modules.get("uwsgi"), os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if uwsgi and folder and _prepare(Path(folder), uwsgi.worker_id(), uwsgi.numproc):
        prometheus_values.ValueClass = prometheus_values.MultiProcessValue(uwsgi.worker_id)  # type: ignore[no-untyped-call]
        return False
    prometheus_values.ValueClass = prometheus_values.MutexValue
    if uwsgi and uwsgi.numproc > 1 and not folder:
        logger.warning("/metrics shows one worker's figures alone: PROMETHEUS_MULTIPROC_DIR is not set in the ini")
    return True


disable_created_metrics()  # type: ignore[no-untyped-call]
_IS_ALONE = _of_this_process()
REGISTRY = CollectorRegistry()

MESSAGES = Counter(
    "wechat_messages", "Messages by what came of their handler's run.", ("type", "event", "outcome"), registry=REGISTRY
)
ANSWER_SECONDS = Histogram(
    "wechat_answer_seconds",
    "Seconds from a message's arrival until its answer was there.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 4.5, 5, 10, 15, 30, 60),
    registry=REGISTRY,
)
HANDLER_SECONDS = Summary(
    "wechat_handler_seconds", "Seconds that a row's handler ran.", ("row", "outcome"), registry=REGISTRY
)
DELIVERIES = Counter(
    "wechat_deliveries",
    "Deliveries by their number and by what was answered.",
    ("delivery", "outcome"),
    registry=REGISTRY,
)
LATE_ANSWERS = Counter("wechat_late_answers", "Answers that came after the last delivery.", ("way",), registry=REGISTRY)
IN_FLIGHT = Gauge(
    "wechat_handlers_in_flight",
    "Handlers that run: inline in the threads of requests, in threads beside, on the event loop.",
    ("place",),
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
MOST_IN_FLIGHT = Gauge(
    "wechat_handlers_in_flight_bound",
    "Handlers that may run; those inline count among those in threads.",
    ("place",),
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
HELD = Gauge(
    "wechat_held_deliveries",
    "Deliveries that wait for their message's answer.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
REFUSED = Counter("wechat_refused_requests", "Requests that were refused.", ("reason",), registry=REGISTRY)
TOKEN_FETCHES = Counter(
    "wechat_token_fetches", "Access tokens and tickets fetched from WeChat.", ("value", "result"), registry=REGISTRY
)
API_CALLS = Counter("wechat_api_calls", "Calls of WeChat's API.", ("endpoint", "errcode"), registry=REGISTRY)
READY = Gauge(
    "wechat_ready",
    "1 where what a message needs answered within a second.",
    ("what",),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
CACHE_FILL = Gauge(
    "wechat_cache_fill",
    "How full the shared cache is, from 0 to 1: the room of messages, and that of fans.",
    ("room",),
    registry=REGISTRY,
    multiprocess_mode="mostrecent",
)
CACHE_ERRORS = Counter("wechat_cache_errors", "Times that the cache failed.", ("reason",), registry=REGISTRY)

# There from the start, so that the first of its kind is seen as one more.
_AT_ZERO = {
    HANDLER_SECONDS: (("'*'", "replied"),),  # its file is opened with its first, while files are to be had
    LATE_ANSWERS: (("customer_service",), ("next_message",), ("none",), ("lost",)),
    REFUSED: tuple(
        (reason,) for reason in ("signature", "stale", "replayed", "plaintext", "ciphertext", "message", "too large")
    ),
    TOKEN_FETCHES: tuple((value, result) for value in ("token", "ticket") for result in ("ok", "forced", "failed")),
    CACHE_ERRORS: (("down",), ("refused",), ("full",)),
}
for _metric, _places in _AT_ZERO.items():
    for _place in _places:
        _metric.labels(*_place)


def count_message(msg_type: str, event: str | None, outcome: str, seconds: float) -> None:
    """Count a message whose answer was there ``seconds`` after it came."""
    _message(msg_type, event, outcome).inc()
    ANSWER_SECONDS.observe(seconds)


def count_run(row: str, outcome: str, seconds: float) -> None:
    """Count a run of the handler of ``row``, a key of HANDLERS."""
    _run(row, outcome).observe(seconds)


def row_label(row: str) -> str:
    """Return what a row is counted under."""
    return _bounded("row", row[:_MOST_ROW_CHARACTERS])


def count_delivery(number: int, outcome: str) -> None:
    """Count the ``number``-th delivery of a message."""
    _delivery(number, outcome).inc()


def count_call(path: str, errcode: int | None) -> None:
    """Count a call of WeChat's API; ``errcode`` is 0 where it went well, None where no answer came."""
    API_CALLS.labels(_bounded("endpoint", path), _bounded("errcode", "none" if errcode is None else str(errcode))).inc()


def exposition() -> bytes:
    """Return all figures, of all processes, in Prometheus' text format."""
    return generate_latest(_registry())


def samples(folder: Path | None = None) -> Iterator[Sample]:
    """Yield the figures that ``exposition`` writes, or those of another uWSGI, whose workers' files are in ``folder``.

    Raises OSError or ValueError where these cannot be read.
    """
    registry = _registry() if folder is None else _registry_of(folder)
    for metric in registry.collect():
        yield from ((sample.name, sample.labels, sample.value) for sample in metric.samples)


def folder() -> Path | None:
    """Return the folder that all processes of this uWSGI share, None where there is none."""
    return None if _IS_ALONE else Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])


def _registry() -> CollectorRegistry:
    if _IS_ALONE:
        return REGISTRY
    return _registry_of(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))


def _registry_of(folder: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry


@lru_cache(maxsize=1024)
def _message(msg_type: str, event: str | None, outcome: str) -> Counter:
    return MESSAGES.labels(_bounded("type", msg_type), _bounded("event", event or ""), outcome)


@lru_cache(maxsize=1024)
def _run(row: str, outcome: str) -> Summary:
    return HANDLER_SECONDS.labels(row_label(row), outcome)


@lru_cache(maxsize=1024)
def _delivery(number: int, outcome: str) -> Counter:
    return DELIVERIES.labels(_NUMBERS[number - 1] if number <= len(_NUMBERS) else "further", outcome)
