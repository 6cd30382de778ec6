"""The state machine of "one answer per message": every order of arrival, finish, death and loss."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from app import config
from app.callback.late import Answer
from tests.callback.world import Actor, Came, Process, World

DELIVERY_SECONDS = 5.0
HANDLER_SECONDS = [0.0, 3.0, 4.5, 5.0, 6.0, 8.0, 9.5, 10.0, 12.0, 14.5, 15.0, 20.0]


def answers_in(xml: str) -> list[str]:
    return re.findall(r"answer of run \d+", xml)


def message(content: str, msg_id: str) -> Any:
    fields = {"ToUserName": "gh_1", "FromUserName": "oFan", "MsgId": msg_id, "Content": content}
    return SimpleNamespace(
        openid="oFan", msg_type="text", event=None, content=content, fields=fields, deadline=4.5, _answer_by=0.0
    )


class WeChat:
    """Delivers one message as WeChat does, and notes what the fan got."""

    def __init__(self, world: World, choose: Any, handler_seconds: Callable[[], float]) -> None:
        self.world, self.choose, self.handler_seconds = world, choose, handler_seconds
        self.got: list[str] = []
        self.last_came, self.last_came_step = 0.0, 0
        self.answered = False
        self.pauses = [0.0]

    def deliver_until_answered(self, deliveries: int) -> None:
        for _ in range(deliveries):
            came = self.world.deliver(self.choose(self.world.alive), message("question", "1"), self.handler_seconds)
            self.last_came, self.last_came_step = came.at, self.world.steps
            answer = self._answer_to(came)
            if answer is not None:
                self.answered = True
                self.got += answers_in(answer.xml)
                return
            self.world.settle(self.choose, self.world.now + self.choose(self.pauses))

    def pick_up(self) -> None:
        """Say the pickup word until nothing waits any more."""
        for _ in range(4):
            collected = self._whole(self.world.alive[0])
            if collected is None:
                return
            self.got += answers_in(collected.xml)

    def _answer_to(self, came: Came) -> Answer | None:
        actor, hang_up = came.actor, came.at + DELIVERY_SECONDS
        while self.world.now < hang_up and actor.process.alive and not actor.ended:
            self.world.settle(self.choose, min(self.world.now + 0.5, hang_up))
        if actor.process.alive and actor.ended and actor.ended_at < hang_up:
            return actor.result
        return None

    def _whole(self, process: Process) -> Answer | None:
        actor: Actor[Answer | None] = Actor(self.world, process, lambda: process.late.collect(message("1", "2")))
        actor.start()
        while not actor.ended:
            self.world.settle(self.choose, self.world.now + 0.5)
        return actor.result


def play(
    data: st.DataObject,
    *,
    sends: bool,
    deliveries: int = 3,
    processes: int = 2,
    pauses: tuple[float, ...] = (0.0,),
    fatal: bool = False,
    stalls: bool = False,
    loses_cache: bool = False,
    dies_at: float = 0.0,
    seconds: float = 0.0,
) -> tuple[World, WeChat]:
    """Play one message to its end, in an order that ``data`` says."""

    def choose(options: list[Any]) -> Any:
        return options[data.draw(st.integers(0, len(options) - 1))] if len(options) > 1 else options[0]

    world = World(config.Settings(token="token", deliveries=deliveries), sends=sends)
    for _ in range(processes):
        world.new_process()
    if fatal:
        world.fatal_steps = set(data.draw(st.lists(st.integers(1, 60), max_size=2)))
        world.fatal_times = set(data.draw(st.lists(st.sampled_from([1001.0, 1005.5, 1008.5, 1011.0]), max_size=2)))
    if stalls:
        world.stall_time = data.draw(st.sampled_from([1001.0, 1003.0, 1006.0, 1008.0]))
    if loses_cache:
        world.losing_step = data.draw(st.integers(1, 60))
    if dies_at:
        world.fatal_times = {dies_at}
    each = (seconds,) * 3 if seconds else data.draw(st.tuples(*[st.sampled_from(HANDLER_SECONDS)] * 3))  # of each run
    wechat = WeChat(world, choose, lambda: each[min(world.runs, 3) - 1])
    wechat.pauses = list(pauses)
    with world.in_charge():
        wechat.deliver_until_answered(deliveries)
        world.settle(choose, world.now + 60)
        if any(process.left for process in world.processes.values()):
            world.take_over(message("question", "1"), wechat.handler_seconds)
            world.settle(choose, world.now + 60)
        if sends:
            wechat.got += world.sent
        else:
            wechat.pick_up()
    return world, wechat


thorough = effort(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


either_way = pytest.mark.parametrize("sends", [True, False], ids=["customer_service", "next_message"])


@either_way
@pytest.mark.parametrize("deliveries", [1, 2, 3])
@thorough
@given(data=st.data())
def test_one_run_and_one_answer_whatever_the_order(data: st.DataObject, sends: bool, deliveries: int) -> None:
    world, wechat = play(data, sends=sends, deliveries=deliveries)
    assert wechat.answered
    assert world.runs == 1
    assert wechat.got == ["answer of run 1"]


@either_way
@thorough
@given(data=st.data())
def test_pauses_between_deliveries_bring_no_answer_twice(data: st.DataObject, sends: bool) -> None:
    world, wechat = play(data, sends=sends, pauses=(0.0, 1.0, 5.0, 6.0, 7.0, 30.0))
    assert world.runs == 1
    assert wechat.got == ["answer of run 1"]


@either_way
@thorough
@given(data=st.data())
def test_a_death_costs_a_run_but_no_answer_and_brings_none_twice(data: st.DataObject, sends: bool) -> None:
    world, wechat = play(data, sends=sends, fatal=True)
    deaths = [process.died_at_step for process in world.processes.values() if not process.alive]
    assert len(wechat.got) <= 1
    assert world.runs <= 1 + len(deaths)
    # Who dies after the last delivery has come takes the answer along: nobody will ask for it again.
    if not deaths or max(deaths) <= wechat.last_came_step:
        assert len(wechat.got) == 1
        # A process that dies before it counted a delivery leaves the next ones in the dark about which is the last.
        assert wechat.answered or world.fatal_steps


@either_way
@thorough
@given(data=st.data(), died_at=st.sampled_from([1009.0, 1010.5, 1012.5, 1014.6, 1016.0, 1019.9, 1025.0]))
def test_a_death_with_the_last_delivery_or_after_it_costs_no_answer_either(
    data: st.DataObject, sends: bool, died_at: float
) -> None:
    world, wechat = play(data, sends=sends, processes=3, dies_at=died_at, seconds=20.0)
    assert wechat.answered or died_at < 1014.5
    assert wechat.got == [f"answer of run {world.runs}"]
    assert world.runs == (2 if died_at < 1020 else 1)


@either_way
@thorough
@given(data=st.data())
def test_a_process_that_only_seemed_dead_brings_no_answer_twice(data: st.DataObject, sends: bool) -> None:
    world, wechat = play(data, sends=sends, stalls=True)
    assert wechat.answered
    assert world.runs <= 2
    assert len(wechat.got) == 1


@either_way
@thorough
@given(data=st.data())
def test_a_cache_that_is_lost_costs_a_second_run_but_no_answer(data: st.DataObject, sends: bool) -> None:
    world, wechat = play(data, sends=sends, loses_cache=True)
    assert world.runs <= 2
    # What waits for the pickup word waits in the cache, and is lost with it.
    if sends or world.lost_at < wechat.last_came:
        assert len(wechat.got) >= 1


@thorough
@given(data=st.data())
def test_within_a_process_a_lost_cache_does_not_even_cost_a_run(data: st.DataObject) -> None:
    world, wechat = play(data, sends=True, processes=1, loses_cache=True)
    assert world.runs == 1
    assert len(wechat.got) >= 1
