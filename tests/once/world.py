"""A world to run the machine in, where the test says which thread goes on.

Each thread runs the real code up to its next look at cache, clock or connection. The clock moves only when nobody can
go on.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import pytest
from cachelib.simple import SimpleCache

from app import config
from app.backends import Opened
from app.cache import Cache
from app.once import claims, endings, late, machine, pickup, pulse, runs, waiting
from app.once.answer import Answer
from app.once.held import Delivery
from app.once.late import LateDelivery
from app.once.machine import Bounds, Once

Choose = Callable[[list[Any]], Any]
Result = TypeVar("Result")
DEATH_SEEN_SECONDS = 2.0
BEAT_SECONDS = 0.5


class Killed(BaseException):
    """What a thread meets at its next step when its process has died."""


class Actor(Generic[Result]):
    """A thread that moves only when it is told to."""

    def __init__(self, world: "World", process: "Process", work: Callable[[], Result]) -> None:
        self.world, self.process = world, process
        self.ready: Callable[[], bool] = lambda: True
        self.until: float | None = None
        self.result: Result | None = None
        self.ended = False
        self._go = threading.Semaphore(0)
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self.world.actors.append(self)
        self._thread.start()

    def can_go(self) -> bool:
        due = self.until is not None and self.world.now >= self.until
        return not self.ended and (not self.process.alive or due or self.ready())

    def step(self) -> None:
        self._go.release()
        assert self.world.back.acquire(timeout=10)
        if self.ended:
            self._thread.join()
            self.world.actors.remove(self)

    def park(self, ready: Callable[[], bool] = lambda: True, until: float | None = None) -> None:
        self.ready, self.until = ready, until
        self.world.back.release()
        self._go.acquire()
        self.ready, self.until = (lambda: True), None
        if not self.process.alive:
            raise Killed

    def _run(self) -> None:
        self.world.current.actor = self
        self._go.acquire()
        try:
            if self.process.alive:
                self.result = self._work()
        except Killed:
            self.result = None
        finally:
            self.ended = True
            self.world.back.release()


class SteppedBackend(SimpleCache):  # type: ignore[misc]
    """A cache whose every use is one step of the thread that uses it."""

    def __init__(self, world: "World") -> None:
        super().__init__(threshold=10_000)
        self._world = world

    def add(self, key: str, value: Any, timeout: int | None = None) -> bool:
        self._world.step_here()
        return bool(super().add(key, value, 0))

    def get(self, key: str) -> Any:
        self._world.step_here()
        return super().get(key)

    def get_many(self, *keys: str) -> list[Any]:
        self._world.step_here()
        return [SimpleCache.get(self, key) for key in keys]

    def set(self, key: str, value: Any, timeout: int | None = None) -> bool:
        self._world.step_here()
        return bool(super().set(key, value, 0))

    def delete(self, key: str) -> bool:
        self._world.step_here()
        return bool(super().delete(key))

    def lose(self, *, claim_only: bool) -> None:
        """Forget everything, or the first claim of a message alone."""
        for key in list(self._cache):
            if not claim_only or key.endswith(MESSAGE["MsgId"]):
                del self._cache[key]


class ScriptedPulse:
    """Tends the machine's tasks in the world's time; what is done every so often is the world's business."""

    def __init__(self, hung_up: Callable[[int], object]) -> None:
        self.hung_up = hung_up
        self.tasks: list[pulse.Task] = []
        self.watched: set[int] = set()

    def add(self, task: pulse.Task | None) -> None:
        self.tasks += [task] if task else []

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def watch(self, descriptor: int) -> None:
        self.watched.add(descriptor)

    def unwatch(self, descriptor: int) -> None:
        self.watched.discard(descriptor)

    def due(self) -> float:
        return min(task.due() for task in self.tasks)


class ScriptedDeaths:
    """Notices a death 2 s later, and who lives from one heartbeat to the next."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._first_seen: dict[str, float] = {}
        self._alive: set[str] = set()

    def dead(self, beats: dict[str, str | None]) -> list[str]:
        now, processes = self._world.now, self._world.processes
        self._first_seen = {name: self._first_seen.get(name, now) for name in beats}
        for name, since in self._first_seen.items():
            if name in processes and processes[name].lives and now >= since + BEAT_SECONDS:
                self._alive.add(name)
        seen_since = {name: max(processes[name].died_at, self._first_seen[name]) for name in beats if name in processes}
        return [
            name
            for name, since in seen_since.items()
            if not processes[name].lives and (processes[name].has_ended or now >= since + DEATH_SEEN_SECONDS)
        ]

    def has_seen_alive(self, name: str) -> bool:
        return name in self._alive

    def clear(self) -> None:
        self._first_seen.clear()


class Caller:
    """WeChat, or somebody slower, at the other end of a connection. ``got`` is the answer that reached it."""

    def __init__(self, world: "World", *, is_seen: bool) -> None:
        self.world, self.is_seen = world, is_seen
        self.has_hung_up = self.is_seen_gone = self.is_closed = False
        self.got: Answer | None = None
        self.descriptor = -1

    def hold(self) -> int:
        if self.is_seen:
            self.descriptor = next(self.world.descriptors)
        return self.descriptor

    def let_go(self) -> None:
        """Do nothing: there is always room to watch a connection."""

    def is_gone(self) -> bool:
        self.world.step_here()
        return self.is_seen_gone

    def reply(self, number: int, answer: Answer) -> bool:
        self.world.step_here()
        assert not self.is_closed
        self.is_closed = True
        if not self.has_hung_up:
            self.got = answer
        return not self.has_hung_up

    def drop(self, number: int, answer: Answer) -> None:
        self.is_closed = True


class Process:
    """One process: its own machine, with everybody's cache."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.alive, self.stalled, self.died_at, self.died_at_step = True, False, 0.0, 0
        self.is_ending = self.has_ended = False
        self.left: dict[str, Any] = {}
        cache = Cache(Opened(world.backend), "wx")
        settings = world.settings
        self.late = LateDelivery(settings, cache, self, self._send if world.sends else None)
        machine.Heartbeat = lambda cache: SimpleNamespace(name=name, key_of=lambda name: f"process:{name}", beat=None)  # type: ignore
        self.once = Once(settings, cache, self, self.late, world.bounds, 600)
        self.pulse: ScriptedPulse = self.once._pulse  # type: ignore[assignment]
        Actor(world, self, self._tend).start()

    @property
    def lives(self) -> bool:
        return self.alive and not self.stalled

    # What the road does with answers.

    async def answer(self, message: Any) -> Answer:
        return self.world.handle(self)

    def busy(self, message: Any) -> Answer:
        return Answer("busy", "busy")

    def value_of(self, body: str) -> Any:
        return body

    def revive(self, fields: dict[str, Any]) -> Any:
        return message_of(fields)

    def context(self) -> AbstractContextManager[object]:
        return nullcontext()

    def hold_reply(self, message: Any) -> str:
        return "hold"

    def to_pick_up(self, message: Any, answer: Answer) -> str:
        return answer.body

    def _send(self, openid: str, value: Any) -> None:
        self.world.step_here()
        self.world.sent.append(value)

    def _tend(self) -> None:
        while True:
            self.world.current.actor.park(lambda: self.pulse.due() <= self.world.now)
            for task in self.pulse.tasks:
                if task.due() <= self.world.now:
                    task.tend()


_ROW = SimpleNamespace(name="handler", is_async=False, takes_thread=True)


def message_of(fields: dict[str, Any]) -> Any:
    identity = (fields["FromUserName"], fields["MsgId"])
    return SimpleNamespace(openid="oFan", fields=fields, row=_ROW, is_pickup=False, identity=identity, asked=0)


MESSAGE = {"FromUserName": "oFan", "MsgId": "1"}


class World:
    """Everything, and the steps that can be made in it."""

    def __init__(self, settings: config.Settings, bounds: Bounds, *, sends: bool) -> None:
        self.now = 1000.0
        self.back = threading.Semaphore(0)
        self.current = threading.local()
        self.actors: list[Actor[Any]] = []
        self.descriptors = iter(range(10, 1000))
        self.sent: list[Any] = []
        self.runs = self.steps = 0
        self.handler_seconds: Callable[[], float] = lambda: 0.0
        self.fatal_steps: set[int] = set()
        self.fatal_times: set[float] = set()
        self.stall_time = 0.0
        self.runner: Process | None = None
        self.losing_step, self.lost_at, self.loses_claim_only = 0, 0.0, False
        self.end_of_all = self.reload_time = 0.0
        self.settings, self.bounds, self.sends = settings, bounds, sends
        self.backend = SteppedBackend(self)
        self.processes: dict[str, Process] = {}

    def new_process(self) -> Process:
        name = f"p{len(self.processes)}"
        self.processes[name] = Process(self, name)
        return self.processes[name]

    def kill(self, process: Process) -> None:
        if process.alive:
            process.left = process.once.unawaited()
            process.alive, process.died_at, process.died_at_step = False, self.now, self.steps

    def end(self, process: Process) -> None:
        """Let a process end as at a reload: it takes no new delivery, brings its work to an end, and says so."""
        process.is_ending = True

        def has_no_work() -> bool:
            others = [actor for actor in self.actors if actor.process is process]
            return len(others) == 2 and not process.once._running and not len(process.once._waiting)

        def leave() -> None:
            self.current.actor.park(has_no_work)
            process.has_ended = True
            self.kill(process)

        Actor(self, process, leave).start()

    @property
    def alive(self) -> list[Process]:
        alive = [process for process in self.processes.values() if process.alive and not process.is_ending]
        return alive or [self.new_process()]

    def step_here(self) -> None:
        actor = getattr(self.current, "actor", None)
        if actor is not None:
            actor.park()

    def handle(self, process: Process) -> Answer:
        """Be the handler: it takes its time, and says which run it is."""
        self.runs += 1
        self.runner, text = process, f"answer of run {self.runs}"
        self.current.actor.park(lambda: False, self.now + self.handler_seconds())
        return Answer(text, "replied", "handler", text)

    def deliver(
        self, process: Process, *, is_seen: bool = True, queue_seconds: float = 0.0
    ) -> tuple[Caller, Actor[None]]:
        """Let a process take a delivery, in a thread of its own, after it stood in a queue."""
        caller, arrived = Caller(self, is_seen=is_seen), self.now

        def take() -> None:
            if queue_seconds:
                self._sleep(queue_seconds)
            delivery = Delivery(message_of(MESSAGE), caller, arrived)
            answer = process.once.deliver(delivery)
            if answer is not None:
                caller.reply(delivery.number, answer)

        actor: Actor[None] = Actor(self, process, take)
        actor.start()
        return caller, actor

    def hang_up(self, process: Process, caller: Caller, unseen_seconds: float) -> None:
        """Let the caller hang up; ``process`` sees it a little later."""
        caller.has_hung_up = True

        def see() -> None:
            if unseen_seconds:
                self._sleep(unseen_seconds)
            caller.is_seen_gone = caller.is_seen
            if caller.descriptor in process.pulse.watched:
                process.pulse.hung_up(caller.descriptor)

        Actor(self, process, see).start()

    def take_over(self) -> None:
        """Let all who live take over what the dead have left, as orphans.py does."""
        for dead in [process for process in self.processes.values() if not process.alive]:
            for key, process in [(key, process) for key in dead.left for process in self.alive]:
                process.once.adopt(key, dead.left[key])
            dead.left = {}

    def settle(self, choose: Choose, until: float) -> None:
        """Let everybody go on, in the order that ``choose`` says, up to the time ``until``."""
        while True:
            able = [actor for actor in self.actors if actor.can_go()]
            if able:
                actor = choose(able)
                self.steps += 1
                if self.steps in self.fatal_steps:
                    self.kill(actor.process)
                if self.steps == self.losing_step:
                    self.backend.lose(claim_only=self.loses_claim_only)
                    self.lost_at = self.now
                actor.step()
                continue
            times = [actor.until for actor in self.actors if actor.until is not None]
            dues = [process.pulse.due() for process in self.processes.values() if process.alive]
            ends = (*self.fatal_times, self.stall_time, self.end_of_all, self.reload_time)
            later = [time for time in (*times, *dues, *ends) if time > self.now]
            next_time = min(later, default=math.inf)
            if next_time > until:
                self.now = max(until, self.now)
                return
            self.now = next_time
            if self.runner and self.now in self.fatal_times:
                self.kill(self.runner)
            if self.now == self.end_of_all:
                for process in list(self.processes.values()):
                    self.kill(process)
            if self.runner and self.now == self.reload_time:
                self.end(self.runner)
            if self.runner and self.now == self.stall_time:
                self.runner.stalled, self.runner.died_at = True, self.now

    def close(self) -> None:
        """End all threads."""
        for process in self.processes.values():
            process.alive = False
        while self.actors:
            self.actors[0].step()

    @contextmanager
    def in_charge(self) -> Iterator[None]:
        """Replace clock, threads and pulse of the code under test by this world's."""
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now, sleep=self._sleep)
        with pytest.MonkeyPatch.context() as patch:
            for module in (machine, claims, waiting, endings, late, pickup):
                patch.setattr(module, "time", clock)
            patch.setattr(waiting, "Pulse", ScriptedPulse)
            patch.setattr(machine, "every", lambda seconds, tend: None)
            patch.setattr(waiting, "Deaths", lambda looks: ScriptedDeaths(self))
            patch.setattr(waiting, "_SEEN_SECONDS", 0.25)
            patch.setattr(machine, "Heartbeat", None)
            for module in (endings, machine, runs):
                patch.setattr(module, "Threads", lambda name, most: _Threads(self))
            try:
                yield
            finally:
                self.close()

    def _sleep(self, seconds: float) -> None:
        self.current.actor.park(lambda: False, self.now + seconds)


class _Threads:
    """Stands in for the threads made on demand: each call is an actor of the process that starts it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __len__(self) -> int:
        return 0

    def start(self, call: Callable[[], object]) -> None:
        Actor(self._world, self._world.current.actor.process, call).start()

    start_some_time = start

    def tend(self) -> None:
        """Do nothing: there is always an actor to be had."""
