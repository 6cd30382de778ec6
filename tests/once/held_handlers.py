"""Handlers that end when the file of their message's name is there, one for each way to run."""

import asyncio
import re
from pathlib import Path
from typing import Any

from tests.servers import wait_for


def plain(message: Any) -> str:
    note(message)
    wait_for(Path(message.match["name"]).exists, 50)
    return f"answer to {message.match['name']}"


async def asynchronous(message: Any) -> str:
    note(message)
    while not Path(message.match["name"]).exists():
        await asyncio.sleep(0.02)
    return f"answer to {message.match['name']}"


def note(message: Any) -> None:
    """Add a line to the file of runs; one write, so that several processes may."""
    with Path("runs").open("a") as runs:
        runs.write(f"{message.match['name']}\n")


HANDLERS = {
    ("text", re.compile("plain (?P<name>.+)")): plain,
    ("text", re.compile("async (?P<name>.+)")): asynchronous,
    "text": lambda message: "quick",
}
