"""The one thread that looks after what waits."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from queue import Queue

import pytest

from app.once.pulse import Pulse, Task, every
from tests.servers import wait_for

NEVER = float("inf")


@pytest.fixture
def ended() -> "Queue[int]":
    """Return where the pulse puts the descriptors whose other side has hung up."""
    return Queue()


@pytest.fixture
def pulse(ended: "Queue[int]") -> Pulse:
    return Pulse(ended.put)


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def pulses() -> int:
    return sum(thread.name == "pulse" for thread in threading.enumerate())


class Appointment:
    """A task that is due when the test says so."""

    def __init__(self) -> None:
        self.at = NEVER
        self.kept: list[float] = []

    def keep(self) -> None:
        self.at = NEVER
        self.kept.append(time.monotonic())

    @property
    def task(self) -> Task:
        return Task(lambda: self.at, self.keep)


def test_what_is_due_is_done_and_nothing_else(pulse: Pulse) -> None:
    due, later = Appointment(), Appointment()
    due.at, later.at = time.monotonic(), time.monotonic() + 60
    pulse.add(due.task)
    pulse.add(later.task)
    pulse.tend()
    pulse.tend()
    assert (len(due.kept), later.kept) == (1, [])


def test_a_task_is_done_again_and_again() -> None:
    done: list[None] = []
    task = every(60, lambda: done.append(None))
    assert task.due() <= time.monotonic()
    task.tend()
    assert 59 < task.due() - time.monotonic() <= 60
    assert done == [None]


def test_an_appointment_is_kept_on_time_by_the_thread(pulse: Pulse) -> None:
    appointment = Appointment()
    pulse.add(appointment.task)
    pulse.start()
    at = appointment.at = time.monotonic() + 0.05
    pulse.wake()
    wait_for(lambda: appointment.kept, 2)
    assert 0 <= appointment.kept[0] - at < 0.3


def test_what_is_due_after_the_longest_sleep_needs_no_waking(pulse: Pulse) -> None:
    appointment = Appointment()
    pulse.add(appointment.task)
    pulse.start()
    appointment.at = time.monotonic()
    wait_for(lambda: appointment.kept, 2)


def test_who_hangs_up_is_seen_at_once_and_told_once(
    pulse: Pulse, ended: "Queue[int]", connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = connection
    pulse.start()
    pulse.watch(ours.fileno())
    began = time.monotonic()
    theirs.shutdown(socket.SHUT_WR)
    assert ended.get(timeout=2) == ours.fileno()
    assert time.monotonic() - began < 0.3
    theirs.close()
    pulse.wake()
    assert ended.empty()


def test_what_the_other_side_sends_is_no_hanging_up(
    pulse: Pulse, ended: "Queue[int]", connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = connection
    pulse.start()
    pulse.watch(ours.fileno())
    theirs.send(b"more")
    one, other = socket.socketpair()
    with one:
        pulse.watch(one.fileno())
        other.close()
        assert ended.get(timeout=2) == one.fileno()  # and ours, which had something earlier, is not among them
    assert ended.empty()


def test_who_is_not_watched_any_more_is_not_told(
    pulse: Pulse, ended: "Queue[int]", connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = connection
    pulse.start()
    pulse.watch(ours.fileno())
    pulse.unwatch(ours.fileno())
    pulse.unwatch(ours.fileno())  # of another thread that was quicker
    theirs.close()
    seen = Appointment()
    pulse.add(seen.task)
    seen.at = time.monotonic()
    pulse.wake()
    wait_for(lambda: seen.kept)
    assert ended.empty()


def test_a_task_that_fails_and_a_hanging_up_that_fails_stop_nothing(
    connection: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("whatever stands in the cache")

    pulse, after = Pulse(fails), Appointment()
    pulse.add(Task(lambda: 0.0 if len(after.kept) < 2 else NEVER, fails))
    pulse.add(after.task)
    pulse.start()
    pulse.watch(connection[0].fileno())
    connection[1].close()
    wait_for(lambda: len(caplog.records) >= 2)
    for number in range(2):
        after.at = time.monotonic()
        pulse.wake()
        wait_for(lambda: len(after.kept) > number)  # noqa: B023
    assert {record.message for record in caplog.records} == {"what waits cannot be looked after"}


def test_one_thread_is_started_however_often_it_is_asked_for(pulse: Pulse) -> None:
    before = pulses()
    starters = [threading.Thread(target=pulse.start) for _ in range(20)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert pulses() == before + 1


def test_a_fork_has_a_thread_of_its_own(pulse: Pulse) -> None:
    appointment, (reading, writing) = Appointment(), os.pipe()
    pulse.add(appointment.task)
    pulse.start()
    if not (child := os.fork()):
        pulse.start()
        appointment.at = time.monotonic()
        pulse.wake()
        wait_for(lambda: appointment.kept, 5)
        os.write(writing, b"kept")
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 10) == b"kept"
    os.waitpid(child, 0)
    os.close(reading)
    assert appointment.kept == []


def test_a_start_without_a_thread_to_be_had_is_said_and_the_next_one_sees_who_hung_up_meanwhile(
    pulse: Pulse,
    ended: "Queue[int]",
    connection: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ours, theirs = connection
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        pulse.start()
        pulse.watch(ours.fileno())
        files = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            pulse.start()
        assert len(os.listdir("/proc/self/fd")) == files
    assert "too small for the threads" in caplog.text
    theirs.close()
    pulse.start()
    assert ended.get(timeout=2) == ours.fileno()


def test_a_pulse_that_is_thrown_away_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    thrown_away = Pulse(lambda descriptor: None)
    thrown_away.start()
    (thread,) = set(threading.enumerate()) - before
    del thrown_away
    wait_for(lambda: not thread.is_alive(), what="the end of the thread")
