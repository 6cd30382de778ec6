"""WeChat's server for many fans at once: it delivers, hangs up after 5 seconds and delivers again."""

import asyncio
import concurrent.futures
import itertools
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self
from urllib.parse import urlencode, urlsplit

from app.callback.seal import Seal
from app.sandbox.phone import DELIVERIES, DELIVERY_SECONDS, FAILURE_NOTICE, Phone
from tests.servers import AES_KEY, APPID, TOKEN

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
# What a broken connection or an answer that is no HTTP raises; IncompleteReadError is an EOFError.
_BROKEN = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)


class Result(NamedTuple):
    """What came of one message: what the fan saw ("" for silence), and how it came about.

    ``seconds`` is from the start of the first delivery to the answer, or to giving up; ``reason`` names what each
    delivery met that got no valid answer.
    """

    shown: str
    answered: bool
    deliveries: int
    seconds: float
    reason: str


class _Address(NamedTuple):
    host: str
    port: int
    path: str


class WeChat:
    """Sends messages from an event loop in a thread of its own, while the context is entered.

    Delivery n of a message goes to the url after that of delivery n - 1, so that two urls take turns. No url is looked
    up: ``http://127.0.0.1:PORT/PATH`` is all that works.
    """

    def __init__(
        self,
        urls: Sequence[str],
        encrypt_mode: str = "normal",
        *,
        token: str = TOKEN,
        delivery_seconds: float = DELIVERY_SECONDS,
        deliveries: int = DELIVERIES,
        pause_seconds: float = 1.0,
    ) -> None:
        self._addresses = [_address(url) for url in urls]
        self._encrypt_mode = encrypt_mode
        self._token = token
        self._delivery_seconds = delivery_seconds
        self._deliveries = deliveries
        self._pause_seconds = pause_seconds
        self._seal = Seal(AES_KEY, APPID)
        self._phones: dict[str, Phone] = {}
        self._turns = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="WeChat")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(
        self, openid: str, message_xml: str, delivery_seconds: float | None = None
    ) -> concurrent.futures.Future[Result]:
        """Begin to deliver the fan's message and return at once, from any thread; what is under way ends with us.

        Each of its deliveries ends after ``delivery_seconds``; by default after those that all messages have.
        """
        phone = self._phones.get(openid)
        if phone is None:  # a new one costs more CPU than a delivery
            phone = self._phones[openid] = Phone("", self._token, openid, self._encrypt_mode, self._seal)
        seconds = self._delivery_seconds if delivery_seconds is None else delivery_seconds
        delivering = self._deliver(phone, message_xml, next(self._turns), seconds)
        return asyncio.run_coroutine_threadsafe(delivering, self._loop)

    async def _deliver(self, phone: Phone, message_xml: str, turn: int, delivery_seconds: float) -> Result:
        started, failures = time.perf_counter(), []
        for delivery in range(1, self._deliveries + 1):
            address = self._addresses[(turn + delivery) % len(self._addresses)]
            request = _request(address, *phone.envelope(message_xml))
            status, body, failure = await _deliver_once(address, request, delivery_seconds)
            if status == 200:
                judged = phone.judge(body, delivery, time.perf_counter() - started)
                failures += [judged.reason] if judged.reason else []
                return Result(*judged[:4], "; ".join(failures))
            failures.append(failure or f"status {status}")
            if failure != "no answer" and delivery < self._deliveries:
                await asyncio.sleep(self._pause_seconds)
        seconds = time.perf_counter() - started
        return Result(FAILURE_NOTICE, False, self._deliveries, seconds, "; ".join(failures))


async def _deliver_once(address: _Address, request: bytes, delivery_seconds: float) -> tuple[int, bytes, str]:
    """Return status and body of the answer, or 0, nothing and what went wrong."""
    try:
        async with asyncio.timeout(delivery_seconds):
            return *await _exchange(address, request), ""
    except TimeoutError:
        return 0, b"", "no answer"
    except _BROKEN as error:
        return 0, b"", type(error).__name__


def _address(url: str) -> _Address:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname != "127.0.0.1" or not parts.port:
        raise ValueError(f"{url}: expected http://127.0.0.1:PORT/PATH")
    return _Address(parts.hostname, parts.port, parts.path)


def _request(address: _Address, query: Mapping[str, str], body: bytes) -> bytes:
    head = (
        f"POST {address.path}?{urlencode(query)} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
        f"Content-Type: text/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def _exchange(address: _Address, request: bytes) -> tuple[int, bytes]:
    """Send ``request`` over a connection of its own and return status and body of the whole answer.

    Raises OSError, EOFError, ValueError or LimitOverrunError for anything else; a chunked body is not decoded.
    """
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not (status := _STATUS.match(head)):
            raise ValueError("not HTTP")
        length = _LENGTH.search(head)
        body = await (reader.readexactly(int(length[1])) if length else reader.read())
        return int(status[1]), body
    finally:
        writer.transport.abort()  # hang up at once, whatever is still to be sent


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
