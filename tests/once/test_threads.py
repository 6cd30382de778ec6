"""Threads made on demand, up to a bound, which end when there is nothing to do."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from app.once.threads import Threads
from tests.servers import wait_for


@pytest.fixture
def end() -> Iterator[threading.Event]:
    """Return the event for which work of a test waits."""
    event = threading.Event()
    yield event
    event.set()


def named(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_what_is_started_at_once_runs_at_once(end: threading.Event) -> None:
    threads, running = Threads("at once", 5), threading.Barrier(6)
    for _ in range(5):
        threads.start(running.wait)
    running.wait(5)


def test_past_the_bound_what_is_started_waits_for_a_thread_in_its_order(end: threading.Event) -> None:
    threads, done = Threads("bound", 1), []
    threads.start(end.wait)
    for number in range(5):
        threads.start(lambda number=number: done.append(number))  # type: ignore[misc]
    wait_for(lambda: named("bound") == 1)
    assert (done, len(threads)) == ([], 6)
    end.set()
    wait_for(lambda: done == [0, 1, 2, 3, 4])
    wait_for(lambda: len(threads) == 0)


def test_an_idle_thread_is_used_again() -> None:
    threads, workers = Threads("again", 5), []
    for number in range(5):
        threads.start(lambda: workers.append(threading.get_ident()))
        wait_for(lambda: len(workers) > number and len(threads) == 0)  # noqa: B023
    assert (len(set(workers)), named("again")) == (1, 1)


def test_threads_end_after_a_while_and_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.once.threads._IDLE_SECONDS", 0.05)
    threads, together = Threads("ends", 5), threading.Barrier(4)
    for _ in range(2):
        for _ in range(3):
            threads.start(together.wait)
        together.wait(5)
        wait_for(lambda: named("ends") == 0)


@pytest.mark.parametrize("error", [ValueError("whatever"), SystemExit(1)])
def test_work_that_fails_is_in_the_log_and_the_next_is_done(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise error

    threads, done = Threads("fails", 1), threading.Event()
    threads.start(fails)
    threads.start(done.set)
    assert done.wait(5)
    assert "work beside the requests failed" in caplog.text


def test_without_a_thread_to_be_had_the_caller_hears_it_and_the_work_is_not_done_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads, refused, done = Threads("none", 5), threading.Event(), threading.Event()
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            threads.start(refused.set)
    assert "too small for the threads" in caplog.text
    assert len(threads) == 0
    threads.start(done.set)
    assert done.wait(5)
    assert not refused.is_set()


def test_what_can_wait_is_done_when_a_thread_can_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads, done = Threads("some time", 5), threading.Event()
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        threads.start_some_time(done.set)
        threads.tend()
    assert (len(threads), done.is_set()) == (1, False)
    threads.tend()
    assert done.wait(5)


def test_where_one_thread_is_there_already_it_does_what_no_further_thread_can_be_had_for(
    monkeypatch: pytest.MonkeyPatch, end: threading.Event
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads, running, done = Threads("one", 5), threading.Event(), threading.Event()

    def hold() -> None:
        running.set()
        end.wait()

    threads.start(hold)
    assert running.wait(5)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    threads.start(done.set)
    assert not done.is_set()
    end.set()
    assert done.wait(5)


def test_a_forked_process_starts_with_no_threads_and_no_work_of_its_parent(end: threading.Event) -> None:
    threads, reading, writing = Threads("parent", 1), *os.pipe()
    for _ in range(3):
        threads.start(end.wait)
    if (child := os.fork()) == 0:
        os.write(writing, f"{len(threads)}".encode())
        threads.start(lambda: os.write(writing, b" done"))
        threading.Event().wait(20)
        os._exit(0)
    found = b""
    while found != b"0 done":
        found += os.read(reading, 100)
        assert b"0 done".startswith(found)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(threads) == 3


def test_no_thread_keeps_the_process() -> None:
    threads, found = Threads("daemon", 1), []
    threads.start(lambda: found.append(threading.current_thread().daemon))
    wait_for(lambda: found == [True])
