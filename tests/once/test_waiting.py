"""Who waits is looked after, whatever fails."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from app.once.answer import ANSWER_SECONDS
from app.once.facts import Facts
from app.once.held import Delivery
from app.once.liveness import Heartbeat
from app.once.waiting import Events, Waiting
from tests.once.parts import NotingCaller, Question, shared_cache


class OnConnection(NotingCaller):
    def hold(self) -> int:
        return 1000  # no descriptor of this process


def waiting(**events: Any) -> Waiting:
    cache = shared_cache()
    nothing = SimpleNamespace(**dict.fromkeys(Events._fields, lambda *_: None) | events)
    return Waiting(cache, Facts(cache, 3, 60), Heartbeat(cache), nothing, 10)  # type: ignore[arg-type]


def delivery(caller: NotingCaller, arrived: float, key: str = "k") -> Delivery:
    one = Delivery(Question(), caller, arrived)
    one.key, one.is_last = key, True
    return one


def test_a_connection_that_cannot_be_watched_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    waits, caller = waiting(), OnConnection()
    monkeypatch.setattr(waits.pulse, "watch", full)
    one = delivery(caller, 0.0)
    with pytest.raises(OSError, match="No space"):
        waits.keep(one)
    assert (caller.got, one.is_in_request, len(waits)) == (["let go"], True, 0)


def test_one_that_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def out_of_time(one: Delivery) -> None:
        asked.append(one.key)
        if one.key == "a":
            raise RuntimeError("whatever")

    asked: list[str] = []
    waits = waiting(out_of_time=out_of_time)
    for key in "abc":
        waits.keep(delivery(NotingCaller(), time.monotonic() - ANSWER_SECONDS, key))
    waits.pulse.tend()
    assert sorted(asked) == ["a", "b", "c"]
    assert "what waits cannot be looked after" in caplog.text
