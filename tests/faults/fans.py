"""Fans who know what they must be answered with."""

import functools
import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from app.sandbox.messages import text_message
from tests.load.wechat import Result, WeChat
from tests.meanwhile import Meanwhile
from tests.servers import wait_for

HOLD_REPLY = "还在处理，稍后回复 1 查看结果"
_ANSWERS = {"slow": "answer", "async": "answer", "quick": "quick", "block": "blocked", "tidy": "tidy"}
_serial = itertools.count(1)


class Asked(NamedTuple):
    """One fan's message on its way."""

    openid: str
    message: str
    expected: str
    sent: Future[Result]

    @property
    def result(self) -> Result:
        return self.sent.result()

    @property
    def is_right(self) -> bool:
        return self.result.answered and self.result.shown == self.expected


def ask(wechat: WeChat, what: str, openid: str = "") -> Asked:
    """Let a fan, without ``openid`` a new one, ask for ``what``: "quick", or "slow" and its seconds, and so on."""
    kind = what.split()[0]
    name = f"o{kind.capitalize()}Fan{next(_serial):020}"
    openid = openid or name
    message = text_message(openid, f"{what} {name}")
    return Asked(openid, message, f"{_ANSWERS.get(kind, '')} {name}", wechat.send(openid, message))


def say(wechat: WeChat, openid: str, text: str) -> Future[Result]:
    """Let this fan say ``text``."""
    return wechat.send(openid, text_message(openid, text))


def ask_evenly(
    wechat: WeChat, what: Iterable[str], per_second: float, openid: str = "", stop: threading.Event | None = None
) -> Iterator[Asked]:
    """Let one fan after the other ask, or always the same, until there is no more to ask or until ``stop``."""
    started, stop = time.monotonic(), stop or threading.Event()
    for number, one in enumerate(what):
        if stop.wait(max(0.0, started + number / per_second - time.monotonic())):
            return
        yield ask(wechat, one, openid)


def wrong(asked: Iterable[Asked]) -> list[tuple[str, Result]]:
    """Wait for all answers and return those that are not right."""
    return [(one.expected, one.result) for one in asked if not one.is_right]


class Crowd(Meanwhile):
    """Fans who come all along; each asks for the next of ``what``, over and over. Who has asked is in ``asked``."""

    def __init__(self, wechat: WeChat, *what: str, per_second: float) -> None:
        super().__init__(functools.partial(self._come, wechat, itertools.cycle(what), per_second))
        self.asked: list[Asked] = []

    def wait_for(self, more: int) -> None:
        """Wait until so many more have asked."""
        count = len(self.asked) + more
        wait_for(lambda: len(self.asked) >= count, what=f"{count} who have asked")

    @property
    def openids(self) -> list[str]:
        return [one.openid for one in self.asked]

    def _come(self, wechat: WeChat, what: Iterable[str], per_second: float) -> None:
        self.asked += ask_evenly(wechat, what, per_second, stop=self.is_over)
