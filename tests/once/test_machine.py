"""The state machine of "one answer per message": every order of arrival, finish, hang-up, death and loss."""

import functools
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from app import config
from app.once.machine import Bounds
from tests.once.parts import ended
from tests.once.world import Actor, Caller, World

DELIVERY_SECONDS = 5.0
HANDLER_SECONDS = [0.0, 3.0, 4.5, 5.0, 6.0, 8.0, 9.5, 10.0, 12.0, 14.5, 15.0, 20.0]
INLINE, BESIDE = Bounds(1000, 16, 1000), Bounds(1000, 0, 1000)


class WeChat:
    """Delivers one message as WeChat does, or somebody ruder or slower, and notes what the fan got."""

    def __init__(self, world: World, choose: Any) -> None:
        self.world, self.choose = world, choose
        self.got: list[str] = []
        self.last_came, self.last_came_step = 0.0, 0
        self.answered = False
        self.pauses, self.patience = [0.0], [DELIVERY_SECONDS]
        self.unseen_seconds, self.is_seen, self.queue_seconds = 0.0, True, [0.0]

    def deliver_until_answered(self, deliveries: int) -> None:
        """Deliver, wait, hang up and deliver again; that it hung up is seen a little later."""
        for _ in range(deliveries):
            self.last_came, self.last_came_step = self.world.now, self.world.steps
            process = self.choose(self.world.alive)
            queue_seconds = self.choose(self.queue_seconds)
            caller, actor = self.world.deliver(process, is_seen=self.is_seen, queue_seconds=queue_seconds)
            self._wait(caller, actor, self.world.now + self.choose(self.patience))
            if caller.got is not None:
                self.answered = True
                self.got += answers_in(caller.got.body)
                return
            self.world.hang_up(process, caller, self.unseen_seconds)
            self.world.settle(self.choose, self.world.now + self.choose(self.pauses))

    def pick_up(self) -> None:
        """Say the pickup word until nothing waits any more."""
        late = self.world.alive[0].late

        def sleep(waited_for: Any) -> None:
            waited_for.close()
            self.world._sleep(0.1)

        def collect(message: Any) -> Any:
            if collected := ended(late.collect(message, 4.0), sleep):
                late.given(message, collected)
            return collected

        for number in range(4):
            process = self.world.alive[0]
            message = SimpleNamespace(openid="oFan", identity=("oFan", f"word {number}"))
            actor: Actor[Any] = Actor(self.world, process, functools.partial(collect, message))
            actor.start()
            while not actor.ended:
                self.world.settle(self.choose, self.world.now + 0.5)
            if actor.result is None:
                return
            self.got += answers_in(actor.result.body)

    def _wait(self, caller: Caller, actor: Actor[None], hang_up: float) -> None:
        """Wait for the answer until ``hang_up``; a process that dies closes its connections."""
        while self.world.now < hang_up and actor.process.alive and not caller.got:
            self.world.settle(self.choose, min(self.world.now + 0.5, hang_up))


def answers_in(body: str) -> list[str]:
    return re.findall(r"answer of run \d+", body)


def play(
    data: st.DataObject,
    *,
    sends: bool,
    deliveries: int = 3,
    processes: int = 2,
    pauses: tuple[float, ...] = (0.0,),
    patience: tuple[float, ...] = (DELIVERY_SECONDS,),
    unseen_seconds: float = 0.2,
    queue_seconds: tuple[float, ...] = (0.0,),
    is_seen: bool = True,
    fatal: bool = False,
    stalls: bool = False,
    loses_cache: bool = False,
    loses_claim: bool = False,
    all_die_at: float = 0.0,
    dies_at: float = 0.0,
    reloads_at: float = 0.0,
    seconds: float = 0.0,
) -> tuple[World, WeChat]:
    """Play one message to its end, in an order that ``data`` says."""

    def choose(options: list[Any]) -> Any:
        return options[data.draw(st.integers(0, len(options) - 1))] if len(options) > 1 else options[0]

    each = (seconds,) * 3 if seconds else data.draw(st.tuples(*[st.sampled_from(HANDLER_SECONDS)] * 3))  # of each run
    bounds = data.draw(st.sampled_from([INLINE, BESIDE]))
    world = World(config.Settings(token="token", deliveries=deliveries), bounds, sends=sends)
    world.handler_seconds = lambda: each[min(world.runs, 3) - 1]
    if fatal:
        world.fatal_steps = set(data.draw(st.lists(st.integers(1, 60), max_size=2)))
        world.fatal_times = set(data.draw(st.lists(st.sampled_from([1001.0, 1005.5, 1008.5, 1011.0]), max_size=2)))
    if stalls:
        world.stall_time = data.draw(st.sampled_from([1001.0, 1003.0, 1006.0, 1008.0]))
    world.loses_claim_only = loses_claim
    if loses_cache or loses_claim:
        world.losing_step = data.draw(st.integers(1, 60))
    if dies_at:
        world.fatal_times = {dies_at}
    world.end_of_all, world.reload_time = all_die_at, reloads_at
    wechat = WeChat(world, choose)
    wechat.pauses, wechat.patience = list(pauses), list(patience)
    wechat.unseen_seconds, wechat.is_seen, wechat.queue_seconds = unseen_seconds, is_seen, list(queue_seconds)
    with world.in_charge():
        for _ in range(processes):
            world.new_process()
        wechat.deliver_until_answered(deliveries)
        world.settle(choose, world.now + 60)
        # Those who die together have had no time to say what they leave.
        if not all_die_at and any(process.left for process in world.processes.values()):
            world.take_over()
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
@given(data=st.data(), reloads_at=st.sampled_from([1001.0, 1005.5, 1008.0, 1011.0]))
def test_a_reload_costs_neither_a_run_nor_an_answer(data: st.DataObject, sends: bool, reloads_at: float) -> None:
    world, wechat = play(data, sends=sends, reloads_at=reloads_at)
    assert world.runs == 1
    assert wechat.got == ["answer of run 1"]


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


@either_way
@thorough
@given(data=st.data())
def test_a_claim_that_alone_is_lost_costs_a_second_run_but_no_answer(data: st.DataObject, sends: bool) -> None:
    world, wechat = play(data, sends=sends, loses_claim=True)
    assert world.runs <= 2
    assert len(wechat.got) >= 1


@thorough
@given(data=st.data())
def test_within_a_process_a_lost_cache_does_not_even_cost_a_run(data: st.DataObject) -> None:
    world, wechat = play(data, sends=True, processes=1, loses_cache=True)
    assert world.runs == 1
    assert len(wechat.got) >= 1


@either_way
@pytest.mark.parametrize("deliveries", [1, 2, 3])
@thorough
@given(data=st.data())
def test_hanging_up_at_any_moment_costs_no_answer_and_brings_none_twice(
    data: st.DataObject, sends: bool, deliveries: int
) -> None:
    patience = (0.5, 2.0, 4.4, 4.6, 5.0, 5.4, 6.0, 8.0, 13.0)
    world, wechat = play(data, sends=sends, deliveries=deliveries, patience=patience, unseen_seconds=0.0)
    assert world.runs == 1
    assert wechat.got == ["answer of run 1"]


@either_way
@thorough
@given(data=st.data())
def test_a_write_that_fails_costs_no_answer_where_it_is_the_first_to_see_that_the_caller_has_gone(
    data: st.DataObject, sends: bool
) -> None:
    patience = (2.0, 2.9, 3.0, 4.0, 4.4)
    world, wechat = play(data, sends=sends, patience=patience, unseen_seconds=1.0)
    assert world.runs == 1
    assert wechat.got == ["answer of run 1"]


@either_way
@thorough
@given(data=st.data())
def test_where_hanging_up_cannot_be_seen_wechat_is_answered_once(data: st.DataObject, sends: bool) -> None:
    world, wechat = play(data, sends=sends, is_seen=False)
    assert wechat.answered
    assert world.runs == 1
    assert wechat.got == ["answer of run 1"]


@either_way
@thorough
@given(data=st.data())
def test_when_all_workers_die_together_the_last_delivery_takes_the_message_on(data: st.DataObject, sends: bool) -> None:
    # At the worst so shortly before the last delivery that its process gives up before it can know of the death.
    died_at = data.draw(st.sampled_from([1000.5, 1004.9, 1005.5, 1008.0, 1009.0, 1009.9]))
    world, wechat = play(data, sends=sends, all_die_at=died_at, seconds=20.0, queue_seconds=(0.0, 3.0, 4.0))
    assert wechat.got == [f"answer of run {world.runs}"]
    assert world.runs <= 2


@either_way
@pytest.mark.parametrize("deliveries", [1, 2, 3])
@thorough
@given(data=st.data())
def test_who_stood_in_a_queue_until_wechat_hung_up_is_answered_once_all_the_same(
    data: st.DataObject, sends: bool, deliveries: int
) -> None:
    patience = (0.5, 2.0, 4.4, 4.6, 5.0, 6.0, 8.0)
    world, wechat = play(
        data, sends=sends, deliveries=deliveries, patience=patience, queue_seconds=(0.0, 3.0, 6.0), unseen_seconds=0.0
    )
    assert world.runs == 1
    assert wechat.got == ["answer of run 1"]


@either_way
@thorough
@given(data=st.data())
def test_the_last_delivery_takes_the_message_on_though_it_comes_too_late_to_be_answered(
    data: st.DataObject, sends: bool
) -> None:
    died_at = data.draw(st.sampled_from([1000.5, 1004.9, 1005.5, 1008.0, 1009.9]))
    world, wechat = play(
        data, sends=sends, all_die_at=died_at, seconds=20.0, queue_seconds=(0.0, 3.0, 6.0), unseen_seconds=0.0
    )
    assert wechat.got == [f"answer of run {world.runs}"]
    assert world.runs <= 2
