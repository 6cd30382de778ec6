"""What the rooms of app/once are tried with: a message, a shared cache, and callers that note what becomes of them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.backends import open_memory
from app.cache import Cache
from app.once.answer import Answer
from app.once.loop import OnLoop


def shared_cache() -> Cache:
    """Return a cache in which other processes may be."""
    return Cache(open_memory(), "wx0")


class Row(NamedTuple):
    """A row of the table, as far as app/once knows one."""

    name: str = "handler"
    is_async: bool = False
    takes_thread: bool = True


PLAIN, ASYNC = Row(), Row("coroutine", is_async=True, takes_thread=False)


@dataclass(eq=False)
class Question:
    """A message, as far as app/once knows one."""

    openid: str = "oFan"
    fields: Mapping[str, Any] = field(default_factory=dict)
    row: Row = PLAIN
    asked: int = 0
    is_pickup: bool = False

    @property
    def identity(self) -> tuple[str, ...]:
        return self.openid, str(self.fields.get("MsgId"))


class Handled:
    """Makes answers by a plain function, or by an ``async def``."""

    def __init__(self, handler: Callable[[Any], Any]) -> None:
        self._handler = handler
        self.context: Callable[[], AbstractContextManager[object]] = nullcontext

    def answer(self, message: Any) -> Coroutine[Any, Any, Answer]:
        return self._answer(message)

    async def _answer(self, message: Any) -> Answer:
        value = self._handler(message)
        return Answer(str(await OnLoop(value) if asyncio.iscoroutine(value) else value), "replied")

    def busy(self, message: Any) -> Answer:
        return Answer("busy", "busy")

    def value_of(self, body: str) -> Any:
        return body

    def revive(self, fields: dict[str, Any]) -> Any:
        return Question(fields=fields)


def ended(run: Coroutine[Any, Any, Any], wait: Callable[[Coroutine[Any, Any, Any]], object] = asyncio.run) -> Any:
    """Return what ``run`` comes to, which hands ``wait`` the coroutines that it waits for."""
    try:
        while True:
            wait(run.send(None).coroutine)
    except StopIteration as over:
        return over.value


class NotingCaller:
    """A caller that notes how its delivery ended."""

    def __init__(self, *, is_seen: bool = True) -> None:
        self.is_seen = is_seen
        self.has_gone = False
        self.got: list[Answer | str] = []

    def hold(self) -> int:
        return -1

    def is_gone(self) -> bool:
        return self.has_gone

    def reply(self, number: int, answer: Answer) -> bool:
        self.got.append(answer)
        return True

    def let_go(self) -> None:
        self.got.append("let go")

    def drop(self, number: int, answer: Answer) -> None:
        self.got.append(answer.outcome)
