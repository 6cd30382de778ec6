"""A service that is started, reloaded or loses a worker while fans write to it."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.load.outcome import Outcome, Scenario, Talk, first_answer_seconds, outcome
from tests.load.site import Memory, Site, family, site
from tests.load.talk import converse, no_pauses, quick_messages, results, send, settings, slow_runs
from tests.load.wechat import WeChat
from tests.servers import environment, program, wait_for

_BEFORE_SECONDS, _AFTER_SECONDS = 2.0, 5.0  # of quick messages, around what befalls the service


def start(scenario: Scenario, on_one_core: bool = False) -> Outcome:
    """Start a service, let the fans of ``scenario`` write to it at once, and return what came of it."""
    return _play(scenario, on_one_core, loaded=False)


def go_on(scenario: Scenario, on_one_core: bool = False) -> Outcome:
    """Let the fans of ``scenario`` write to a service that has started before, and return what came of it."""
    return _play(scenario, on_one_core, loaded=True)


def _play(scenario: Scenario, on_one_core: bool, loaded: bool) -> Outcome:
    with tempfile.TemporaryDirectory() as name, _service(scenario, Path(name), on_one_core, loaded=loaded) as service:
        with (
            WeChat([service.url], scenario.encrypt_mode, deliveries=scenario.deliveries) as wechat,
            Memory(service.uwsgi.process.pid) as memory,
        ):
            talk = converse(scenario, wechat)
        ready_seconds = 0.0 if loaded else first_answer_seconds(scenario, talk.quick)
        return outcome(scenario, talk, slow_runs(Path(name)), memory.peak_mb, ready_seconds=ready_seconds)


def reload_and_kill(scenario: Scenario, on_one_core: bool = False) -> Outcome:
    """Reload a service while it answers quick messages, then kill one of its workers, and return what came of it."""
    with tempfile.TemporaryDirectory() as name, _service(scenario, Path(name), on_one_core, loaded=True) as service:
        finished = threading.Event()
        with (
            # The pause of a second before the next delivery, where a worker's death cuts one off, is WeChat's own.
            WeChat([service.url], scenario.encrypt_mode, pause_seconds=0.0) as wechat,
            Memory(service.uwsgi.process.pid) as memory,
            ThreadPoolExecutor(1) as pool,
        ):
            quick = pool.submit(send, wechat, quick_messages(), scenario.quick_per_second, finished)
            try:
                threading.Event().wait(_BEFORE_SECONDS)
                _reload(service, Path(name))
                _kill_a_worker(service)
                threading.Event().wait(_AFTER_SECONDS)
            finally:
                finished.set()
            answered = results(quick.result())
        return outcome(scenario, Talk({}, [], answered), 0, memory.peak_mb)


@contextmanager
def _service(scenario: Scenario, folder: Path, on_one_core: bool, *, loaded: bool) -> Iterator[Site]:
    """Run a service as `make run` does, which makes its database first; it has one core or, with us, all of them."""
    cores = sorted(os.sched_getaffinity(0))
    prefix = ("taskset", "-c", str(cores[0])) if on_one_core else ()
    make = [program("flask"), "db", "upgrade"]
    subprocess.run(make, cwd=folder, env=environment(FLASK_APP="runserver"), check=True, capture_output=True)
    env = settings(scenario, folder)
    with (
        no_pauses(),
        _on_core(cores[-1] if on_one_core else None),
        site(folder, env, through_nginx=scenario.through_nginx, prefix=prefix, loaded=loaded) as service,
    ):
        yield service


@contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """Keep this process, its threads and what they start on ``core`` while the context is entered."""
    before = os.sched_getaffinity(0)
    _allow(before if core is None else {core})
    try:
        yield
    finally:
        _allow(before)


def _allow(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def _workers(service: Site) -> set[int]:
    """Return the workers, which are all that descends from uWSGI's master."""
    return set(family(service.uwsgi.process.pid)[1:])


def _loaded(service: Site) -> int:
    return service.uwsgi.output().count("WSGI app 0")


def _reload(service: Site, folder: Path) -> None:
    """Let the workers be replaced one by one, and wait until the last one has loaded the application."""
    before, loaded = _workers(service), _loaded(service)
    (folder / "run" / "reload").touch()
    wait_for(lambda: _loaded(service) >= loaded + len(before), 60, "the chain reload")
    wait_for(lambda: len(after := _workers(service)) == len(before) and not after & before, 60, "the last new worker")
    threading.Event().wait(_AFTER_SECONDS)


def _kill_a_worker(service: Site) -> None:
    """Kill one, and wait until another one has loaded the application in its place."""
    loaded = _loaded(service)
    os.kill(min(_workers(service)), signal.SIGKILL)
    wait_for(lambda: _loaded(service) > loaded, 60, "the next worker")
