"""Handlers that do harm to the event loop, beside those of tests.load. WECHAT_HANDLERS=tests.faults.handlers"""

import asyncio
import re
import threading
from typing import Any

from tests.load import handlers


async def leave(message: Any) -> str:
    raise SystemExit(f"asked for by {message.match['name']}")


def leave_at_once(message: Any) -> str:
    raise SystemExit(f"asked for by {message.match['name']}")


async def block(message: Any) -> str:
    handlers.note_run("block", message)
    threading.Event().wait(float(message.match["seconds"]))
    return f"blocked {message.match['name']}"


async def never(message: Any) -> str:
    handlers.note_run("never", message)
    await asyncio.Event().wait()
    return ""


async def tidy(message: Any) -> str:
    handlers.note_run("tidy", message)
    try:
        await asyncio.sleep(float(message.match["seconds"]))
    except asyncio.CancelledError:
        handlers.note_run("cut", message)
        raise
    return f"tidy {message.match['name']}"


HANDLERS: dict[Any, Any] = {
    ("text", re.compile(r"leave (?P<name>\S+)")): leave,
    ("text", re.compile(r"exit (?P<name>\S+)")): leave_at_once,
    ("text", re.compile(r"block (?P<seconds>[\d.]+) (?P<name>\S+)")): block,
    ("text", re.compile(r"never (?P<name>\S+)")): never,
    ("text", re.compile(r"tidy (?P<seconds>[\d.]+) (?P<name>\S+)")): tidy,
    **handlers.HANDLERS,
}
