"""What was counted, minute by minute."""

import json
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from app import metrics
from app.console.history import History, Step, counted
from app.store import db
from app.store.figures import keep_figures
from app.store.models import Figures
from tests.actors import Account

NOW = 1_800_000_030.0  # half a minute past a full ten minutes
MINUTE = int(NOW // 60)
APPID = "wxhistory"


@pytest.fixture
def history(account: Callable[..., Account], monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    app = account().app
    monkeypatch.setattr(time, "time", lambda: NOW)
    with app.app_context():
        yield History(app, APPID)


def keep(source: str, minute: int, **counts: int) -> None:
    keep_figures(APPID, source, minute, json.dumps({name.replace("__", "/"): count for name, count in counts.items()}))


def texts(steps: list[Step]) -> dict[int, int]:
    """Return how many texts came in each step, by its first minute."""
    return {step.begins // 60 - MINUTE: step.of("messages")["text"] for step in steps if step.of("messages")["text"]}


def test_each_minute_shows_what_came_in_it_on_all_machines(history: History) -> None:
    for source, first in (("a", 1000), ("b", 5)):
        keep(source, MINUTE - 3, messages__text=first)
        keep(source, MINUTE - 2, messages__text=first + 3)
        keep(source, MINUTE - 1, messages__text=first + 3, messages__event=1)
        keep(source, MINUTE, messages__text=first + 10, messages__event=1)
    steps = history.steps("hour")
    assert len(steps) == 60
    assert texts(steps) == {-3: 6, -1: 14}
    assert steps[-3].of("messages") == {"text": 0, "event": 2}


def test_what_a_machine_had_counted_before_it_was_first_looked_at_is_in_no_minute(history: History) -> None:
    keep("a", MINUTE - 1, messages__text=1000)
    keep("a", MINUTE, messages__text=1001)
    assert texts(history.steps("hour")) == {-1: 1}


def test_a_restart_begins_at_nothing_and_is_no_negative_figure(history: History) -> None:
    keep("a", MINUTE - 2, messages__text=1000, messages__event=10)
    keep("a", MINUTE - 1, messages__text=3, messages__event=10)
    keep("a", MINUTE, messages__text=4, messages__event=10)
    assert texts(history.steps("hour")) == {-2: 3, -1: 1}
    assert history.steps("hour")[-3].of("messages")["event"] == 10


def test_a_day_has_a_step_every_ten_minutes(history: History) -> None:
    for minutes in range(40, -1, -1):
        keep("a", MINUTE - minutes, messages__text=1000 - minutes)
    keep("b", MINUTE - 5, messages__text=1000)
    keep("b", MINUTE, messages__text=1007)
    steps = history.steps("day")
    assert (len(steps), steps[-1].begins - steps[0].begins) == (144, 143 * 600)
    assert texts(steps) == {-40: 10, -30: 10, -20: 10, -10: 17}


def test_a_day_loses_nothing_of_a_restart_but_what_no_minute_had_kept(history: History) -> None:
    for minutes, count in ((17, 1000), (15, 1200), (14, 30), (10, 50)):
        keep("a", MINUTE - minutes, messages__text=count)
    assert texts(history.steps("day")) == {-20: 250}


def test_a_machine_whose_clock_is_ahead_is_in_the_last_step(history: History) -> None:
    keep("a", MINUTE, messages__text=1)
    keep("a", MINUTE + 30, messages__text=5)
    assert texts(history.steps("hour")) == {0: 4}


def test_the_minute_that_runs_is_shown_up_to_now(history: History) -> None:
    history.keep()
    metrics.count_message("text", None, "replied", 0.02)
    [(minute, seen)] = texts(history.steps("hour")).items()
    assert (minute, seen) == (0, 1)
    assert history.steps("hour")[-1].of("seconds")["0.05"] == 1
    assert texts(history.steps("day")) == {0: 1}


def test_a_minute_is_kept_once_and_a_day_is_forgotten(history: History) -> None:
    keep("a", MINUTE - 25 * 60 - 1, messages__text=1)
    keep("a", MINUTE - 25 * 60, messages__text=1)
    history.keep()
    history.keep()
    keep_figures(APPID, history._source, MINUTE, "{}")  # another process of the same uWSGI, at the same time
    rows = list(db.session.scalars(select(Figures).where(Figures.appid == APPID).order_by(Figures.minute)))
    assert [row.minute - MINUTE for row in rows] == [-1500, 0]
    assert json.loads(rows[-1].content).keys() == counted().keys()
