"""What fans and others do all along, and what became of it."""

import functools
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import requests

from app.callback.signature import sign
from app.sandbox.messages import event_message, text_message
from app.sandbox.phone import Phone
from tests.load.wechat import Result, WeChat
from tests.meanwhile import Meanwhile
from tests.servers import TOKEN
from tests.wechat_server import WeChatServer

HOLD_REPLY = "还在处理，稍后回复 1 查看结果"
ERROR_REPLY = "出了点问题，请稍后再试"
_PICKUPS = 3


class Kind(NamedTuple):
    """Fans who come so many a second, say ``text``, and shall see ``shown`` once."""

    name: str
    per_second: float
    text: str
    shown: str


KINDS = (
    Kind("quick", 12, "quick {fan}", "quick {fan}"),
    Kind("slow, 8 s", 2, "slow 8 {fan}", "answer {fan}"),
    Kind("late, 17 s", 0.5, "slow 17 {fan}", "answer {fan}"),
    Kind("failing", 0.5, "raise 0.1 {fan}", ERROR_REPLY),
    Kind("follow by a QR code", 1, "", ""),
)


class Said(NamedTuple):
    """One fan's message on its way."""

    kind: Kind
    fan: str
    sent: Future[Result]


class Verdict(NamedTuple):
    """How many messages of a kind were answered right and once, and how many were not."""

    kind: Kind
    messages: int
    right_once: int
    lost: int
    lost_with_worker: int
    twice: int
    refused: int


class Fans(Meanwhile):
    """They come while the context is entered: every second message is sealed, and some are delivered twice at once."""

    def __init__(self, wechats: Sequence[WeChat], server: WeChatServer) -> None:
        super().__init__(*(functools.partial(self._come, kind) for kind in KINDS))
        self._wechats = itertools.cycle(wechats)
        self._server = server
        self.said: list[Said] = []

    def _come(self, kind: Kind) -> None:
        started = time.monotonic()
        for number in itertools.count():
            if self.is_over.wait(max(0.0, started + number / kind.per_second - time.monotonic())):
                return
            self._say(kind, f"o{kind.name[:4].title()}Fan{number:020}")

    def _say(self, kind: Kind, fan: str) -> None:
        if kind.name.startswith("late"):
            self._server.wechat.heard(fan)
        if kind.text:
            message = text_message(fan, kind.text.format(fan=fan))
        else:
            message = event_message(fan, "subscribe", scene="soak")
        wechat = next(self._wechats)
        self.said.append(Said(kind, fan, wechat.send(fan, message)))
        if kind.name == "quick" and fan.endswith("7"):
            self.said.append(Said(kind, fan, wechat.send(fan, message)))


class Others(Meanwhile):
    """They forge, capture and look at the figures; ``taken`` is when (since 1970) a captured signature passed.

    ``believed`` is how many requests with another token passed.
    """

    def __init__(self, url: str) -> None:
        super().__init__(self._come)
        self._url = url
        self.refused = self.looked = self.believed = 0
        self.taken: list[float] = []

    def _come(self) -> None:
        with requests.Session() as http, Phone("", TOKEN, "oFanWhoIsOverheard0000000000") as phone:
            while not self.is_over.wait(0.2):
                query, body = phone.envelope(text_message("oFanWhoIsOverheard0000000000", "quick overheard"))
                forged = query | {"signature": sign("anotherToken", query["timestamp"], query["nonce"])}
                self.believed += self._passes(http, forged, body)
                if self._post(http, query, body) == 200:
                    captured = text_message("oFanWhoIsOverheard0000000000", "forged").encode()
                    if self._passes(http, query, captured):
                        self.taken.append(time.time())
                self.looked += http.get(self._url.replace("/wechat", "/metrics"), timeout=10).status_code == 200

    def _passes(self, http: requests.Session, query: dict[str, str], body: bytes) -> bool:
        status = self._post(http, query, body)
        self.refused += status == 403
        return status != 403 and status < 500  # no worker just now is no answer to a forgery

    def _post(self, http: requests.Session, query: dict[str, str], body: bytes) -> int:
        return http.post(self._url, params=query, data=body, timeout=10).status_code


def judge(fans: Fans, server: WeChatServer, wechat: WeChat, cut: set[str]) -> Iterator[Verdict]:
    """Wait for all answers, let fans without one say the pickup word, and count; ``cut`` fans' workers were killed."""
    seen = _seen(fans, server)
    for said in fans.said:
        shown = said.kind.shown.format(fan=said.fan)
        if said.kind.text and shown not in seen[said.fan]:
            seen[said.fan] += _picked_up(wechat, said.fan)
    for kind in KINDS:
        those = [said for said in fans.said if said.kind == kind]
        names = {said.fan for said in those}
        counts = {fan: seen[fan].count(kind.shown.format(fan=fan)) for fan in names}
        lost = {fan for fan, count in counts.items() if not count}
        sent_twice = Counter(said.fan for said in those)
        refused = sum("status 4" in said.sent.result().reason for said in those)
        twice = sum(count > sent_twice[fan] for fan, count in counts.items())
        right = len(names) - len(lost) - twice
        yield Verdict(kind, len(names), right, len(lost - cut), len(lost & cut), twice, refused)


def _seen(fans: Fans, server: WeChatServer) -> dict[str, list[str]]:
    """Return all that each fan saw: replies, then customer-service messages."""
    seen: dict[str, list[str]] = defaultdict(list)
    for said in fans.said:
        result = said.sent.result()
        if result.answered and (result.shown not in ("", HOLD_REPLY) or not said.kind.shown):
            seen[said.fan].append(result.shown)
    for message in server.wechat.messages:
        seen[message["touser"]].append(message["text"]["content"])
    return seen


def _picked_up(wechat: WeChat, fan: str) -> list[str]:
    said = [wechat.send(fan, text_message(fan, "1")).result() for _ in range(_PICKUPS)]
    return [result.shown for result in said if result.answered and result.shown not in ("1", HOLD_REPLY)]
