"""Handlers for the test of a graceful stop: an echo that runs until the file ``finish`` is there."""

import logging
from pathlib import Path
from typing import Any

from tests.servers import wait_for


def slow_echo(message: Any) -> str:
    logging.getLogger(__name__).info("handler runs")
    wait_for(lambda: Path("finish").exists(), 4)
    return str(message.content)


HANDLERS = {"text": slow_echo}
