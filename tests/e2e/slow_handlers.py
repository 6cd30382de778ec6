"""Handlers for the tests of stop and reload: an echo that takes its time."""

import logging
import time
from typing import Any


def slow_echo(message: Any) -> str:
    logging.getLogger(__name__).info("handler runs")
    time.sleep(1)  # what is tested is that it may
    return str(message.content)


HANDLERS = {"text": slow_echo}
