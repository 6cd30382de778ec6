"""Handlers of the server under load: a fan says how slow they are. WECHAT_HANDLERS=tests.load.handlers"""

import asyncio
import os
import re
import threading
from typing import Any, NoReturn

_RUNS = os.environ.get("LOAD_RUNS")
_RUNS_FD = os.open(_RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if _RUNS else None


def slow(message: Any) -> str:
    note_run("slow", message)
    threading.Event().wait(float(message.match["seconds"]))
    return f"answer {message.match['name']}"


async def patient(message: Any) -> str:
    note_run("async", message)
    await asyncio.sleep(float(message.match["seconds"]))
    return f"answer {message.match['name']}"


def quick(message: Any) -> str:
    note_run("quick", message)
    return f"quick {message.match['name']}"


def fail(message: Any) -> NoReturn:
    note_run("raise", message)
    threading.Event().wait(float(message.match["seconds"]))
    raise RuntimeError(f"asked for by {message.match['name']}")


def forever(message: Any) -> NoReturn:
    note_run("forever", message)
    while True:
        threading.Event().wait()


def echo(message: Any) -> str:
    return str(message.content)


def note_run(kind: str, message: Any) -> None:
    """Write down that a handler runs, where LOAD_RUNS says."""
    # One write on a file opened to append: lines of several threads and processes do not mix.
    if _RUNS_FD is not None:
        os.write(_RUNS_FD, f"{kind} {message.match['name']} {os.getpid()}\n".encode())


HANDLERS = {
    ("text", re.compile(r"slow (?P<seconds>[\d.]+) (?P<name>\S+)")): slow,
    ("text", re.compile(r"async (?P<seconds>[\d.]+) (?P<name>\S+)")): patient,
    ("text", re.compile(r"quick (?P<name>\S+)")): quick,
    ("text", re.compile(r"raise (?P<seconds>[\d.]+) (?P<name>\S+)")): fail,
    ("text", re.compile(r"forever (?P<name>\S+)")): forever,
    "text": echo,
}
