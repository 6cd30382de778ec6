"""A world to run the rendezvous in, where the test says which thread goes on.

Each runs the real code up to its next look at cache or clock. The clock moves only when nobody can go on.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar

import pytest
from cachelib.simple import SimpleCache

from app import config
from app.backends import Opened
from app.cache import Cache
from app.callback import delivery, late, watch
from app.callback.delivery import Rendezvous
from app.callback.late import Answer, Late

Choose = Callable[[list[Any]], Any]


Result = TypeVar("Result")


class Killed(BaseException):
    """What a thread meets at its next step when its process has died."""


class Actor(Generic[Result]):
    """A thread that moves only when it is told to."""

    def __init__(self, world: "World", process: "Process", work: Callable[[], Result]) -> None:
        self.world, self.process = world, process
        self.ready: Callable[[], bool] = lambda: True
        self.until: float | None = None
        self.result: Result | None = None
        self.ended, self.ended_at = False, 0.0
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
            self.result = self._work()
        except Killed:
            self.result = None
        self.ended, self.ended_at = True, self.world.now
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

    def set(self, key: str, value: Any, timeout: int | None = None) -> bool:
        self._world.step_here()
        return bool(super().set(key, value, 0))

    def delete(self, key: str) -> bool:
        self._world.step_here()
        return bool(super().delete(key))

    def holds(self, key: str) -> bool:
        return key in self._cache


class ScriptedWatch(watch.Watch):
    """Waits as the real one does, in the world's time; the death of a process is noticed 2 s later."""

    def __init__(self, world: "World", process: "Process", cache: Cache) -> None:
        super().__init__(cache)
        self._world, self._process = world, process

    def me(self) -> str:
        return self._process.name

    def wait(self, key: str, seconds: float, owner: str | None = None) -> str | None:
        world = self._world
        until = world.now + max(seconds, 0)

        def died() -> bool:
            process = world.processes.get(owner or "")
            if process is None or process is self._process or (process.alive and not process.stalled):
                return False
            return world.now >= process.died_at + 2

        world.current.actor.park(lambda: world.backend.holds(key) or died(), until)
        standing = self._cache.get(key)
        return standing if standing is not None or not died() else watch.DIED


class Process:
    """One process: its own rendezvous, with everybody's cache."""

    def __init__(self, world: "World", name: str, settings: config.Settings, sends: bool) -> None:
        self.world, self.name = world, name
        self.alive, self.stalled, self.died_at, self.died_at_step = True, False, 0.0, 0
        self.left: dict[str, Any] = {}
        cache = Cache(Opened(world.backend), "wx")
        watching = ScriptedWatch(world, self, cache)
        self.late = Late(settings, cache, watching, self._send if sends else None)
        self.rendezvous = Rendezvous(cache, watching, self.late, settings.deliveries, 600)

    def _send(self, openid: str, value: Any) -> None:
        self.world.step_here()
        self.world.sent.append(value)


class Came(NamedTuple):
    actor: Actor[Answer]
    at: float


class World:
    """Everything, and the steps that can be made in it."""

    def __init__(self, settings: config.Settings, *, sends: bool) -> None:
        self.now = 1000.0
        self.back = threading.Semaphore(0)
        self.current = threading.local()
        self.actors: list[Actor[Any]] = []
        self.sent: list[Any] = []
        self.runs = self.steps = 0
        self.fatal_steps: set[int] = set()
        self.fatal_times: set[float] = set()
        self.stall_time = 0.0
        self.runner: Process | None = None
        self.losing_step, self.lost_at = 0, 0.0
        self.backend = SteppedBackend(self)
        self.processes: dict[str, Process] = {}
        self._settings, self._sends = settings, sends

    def new_process(self) -> Process:
        name = f"p{len(self.processes)}"
        self.processes[name] = Process(self, name, self._settings, self._sends)
        return self.processes[name]

    def kill(self, process: Process) -> None:
        if process.alive:
            process.left = process.rendezvous.unawaited()
            process.alive, process.died_at, process.died_at_step = False, self.now, self.steps

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes.values() if process.alive] or [self.new_process()]

    def step_here(self) -> None:
        actor = getattr(self.current, "actor", None)
        if actor is not None:
            actor.park()

    def deliver(self, process: Process, message: Any, handler_seconds: Callable[[], float]) -> Came:
        run = self._handler(process, handler_seconds)
        actor: Actor[Answer] = Actor(self, process, lambda: process.rendezvous.answer(message, run, self.now)[0])
        actor.start()
        return Came(actor, self.now)

    def take_over(self, message: Any, handler_seconds: Callable[[], float]) -> None:
        """Let all who live take over what the dead have left, as wards.py does."""
        for dead in [process for process in self.processes.values() if not process.alive]:
            for key, process in [(key, process) for key in dead.left for process in self.alive]:
                run = self._handler(process, handler_seconds)
                taking = functools.partial(process.rendezvous.take_over, key, message, run)
                Actor(self, process, taking).start()
            dead.left = {}

    def _handler(self, process: Process, handler_seconds: Callable[[], float]) -> Callable[[Any], Answer]:
        def run(message: Any) -> Answer:
            self.runs += 1
            self.runner = process
            text = f"answer of run {self.runs}"
            self.current.actor.park(lambda: False, self.now + handler_seconds())
            return Answer(text, "replied", "handler", text)

        return run

    def spawn(self, target: Callable[..., Any], args: tuple[Any, ...], **_: Any) -> Actor[Any]:
        """Stand in for threading.Thread: the handler beside the last delivery is a thread of the same process."""
        return Actor(self, self.current.actor.process, lambda: target(*args))

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
                    self.backend.clear()
                    self.lost_at = self.now
                actor.step()
                continue
            times = [actor.until for actor in self.actors if not actor.ended and actor.until is not None]
            noticed = [process.died_at + 2 for process in self.processes.values()]
            later = [time for time in (*times, *noticed, *self.fatal_times, self.stall_time) if time > self.now]
            next_time = min(later, default=until + 1)
            if next_time > until:
                self.now = max(until, self.now)
                return
            self.now = next_time
            if self.runner and self.now in self.fatal_times:
                self.kill(self.runner)
            if self.runner and self.now == self.stall_time:
                self.runner.stalled, self.runner.died_at = True, self.now

    @contextmanager
    def in_charge(self) -> Iterator[None]:
        """Replace clock and threads of the code under test by this world's."""
        with pytest.MonkeyPatch.context() as patch:
            clock = _Clock(self)
            patch.setattr(delivery, "time", clock)
            patch.setattr(late, "time", clock)
            patch.setattr(delivery, "threading", SimpleNamespace(Thread=self.spawn))
            yield


class _Clock:
    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        return self._world.now

    def time(self) -> float:
        return self._world.now

    def sleep(self, seconds: float) -> None:
        self._world.current.actor.park(lambda: False, self._world.now + seconds)
