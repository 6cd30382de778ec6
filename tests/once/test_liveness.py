"""Who lives and who has died."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from app.cache import Cache, connect, to_json
from app.once.liveness import Deaths, Heartbeat, here
from tests.once.parts import shared_cache


@pytest.fixture
def cache() -> Cache:
    return shared_cache()


def beats_of(cache: Cache, *hearts: Heartbeat) -> dict[str, str | None]:
    return {heart.name: cache.get(heart.key_of(heart.name)) for heart in hearts}


def test_each_process_has_a_name_of_its_own_and_keeps_it(cache: Cache) -> None:
    one, other = Heartbeat(cache), Heartbeat(cache)
    assert one.name == one.name != other.name


def test_threads_that_ask_at_once_are_told_one_name(cache: Cache) -> None:
    for _ in range(20):
        heart, together = Heartbeat(cache), Barrier(8)

        def name(heart: Heartbeat = heart, together: Barrier = together) -> str:
            together.wait()
            return heart.name

        with ThreadPoolExecutor(8) as pool:
            names = {asked.result() for asked in [pool.submit(name) for _ in range(8)]}
        assert names == {heart.name}


def test_a_fork_has_another_name(cache: Cache) -> None:
    heart = Heartbeat(cache)
    name, (reading, writing) = heart.name, os.pipe()
    if not (child := os.fork()):
        os.write(writing, heart.name.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100).decode() not in ("", name)
    assert heart.name == name
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_who_beats_lives_and_who_stops_is_dead_after_so_many_looks(cache: Cache) -> None:
    lives, stops, deaths = Heartbeat(cache), Heartbeat(cache), Deaths(3)
    stops.beat()
    found = []
    for _ in range(5):
        lives.beat()
        found.append(deaths.dead(beats_of(cache, lives, stops)))
    assert found == [[], [], [], [stops.name], [stops.name]]
    assert (deaths.has_seen_alive(lives.name), deaths.has_seen_alive(stops.name)) == (True, False)


def test_who_beats_again_in_time_is_looked_at_from_the_beginning(cache: Cache) -> None:
    slow, deaths = Heartbeat(cache), Deaths(3)
    for _ in range(4):
        slow.beat()
        assert [deaths.dead(beats_of(cache, slow)) for _ in range(3)] == [[]] * 3
    assert deaths.dead(beats_of(cache, slow)) == [slow.name]


def test_who_never_beat_is_dead_after_as_many_looks(cache: Cache) -> None:
    never, deaths = Heartbeat(cache), Deaths(2)
    assert [deaths.dead(beats_of(cache, never)) for _ in range(3)] == [[], [], [never.name]]


def test_who_says_that_it_ends_is_dead_at_once_and_beats_no_more(cache: Cache) -> None:
    heart, deaths = Heartbeat(cache), Deaths(3)
    heart.beat()
    assert deaths.dead(beats_of(cache, heart)) == []
    heart.end()
    heart.beat()
    assert deaths.dead(beats_of(cache, heart)) == [heart.name]


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[str]]:
    """Another process of this machine, which says where it is."""
    code = "import sys; from app.once.liveness import here; print(here(), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_who_was_killed_on_this_machine_is_dead_at_once(neighbour: subprocess.Popen[str]) -> None:
    assert neighbour.stdout
    beats = {"neighbour": to_json([1, neighbour.stdout.readline().strip()])}
    assert Deaths(3).dead(beats) == []
    neighbour.kill()
    os.waitid(os.P_PID, neighbour.pid, os.WEXITED | os.WNOWAIT)
    assert Deaths(3).dead(beats) == ["neighbour"], "one that nobody has waited for yet"
    neighbour.wait()
    assert Deaths(3).dead(beats) == ["neighbour"]


def test_another_process_with_the_number_of_one_that_was_killed_is_not_that_one() -> None:
    machine, pid, started_at = here().split()
    beats = {"before": f"{machine} {pid} {int(started_at) - 1}", "now": f"{machine} {pid} {started_at}"}
    assert Deaths(3).dead({name: to_json([1, where]) for name, where in beats.items()}) == ["before"]


@pytest.mark.parametrize("where", ["", "{boot}:pid:[1] 1 1", "another:{namespace} 1 1"])
def test_who_is_elsewhere_is_judged_by_the_heartbeat_alone(where: str) -> None:
    boot, namespace = here().split()[0].split(":", 1)
    beats = {"elsewhere": to_json([1, where.format(boot=boot, namespace=namespace)])}
    deaths = Deaths(2)
    assert [deaths.dead(beats) for _ in range(3)] == [[], [], ["elsewhere"]]


def test_a_heartbeat_of_the_version_before_says_no_place() -> None:
    assert Deaths(3).dead({"old": "17"}) == []


def test_looks_that_were_forgotten_judge_nobody(cache: Cache) -> None:
    stops, deaths = Heartbeat(cache), Deaths(2)
    for _ in range(3):
        assert [deaths.dead(beats_of(cache, stops)) for _ in range(2)] == [[], []]
        deaths.clear()


def test_who_was_not_looked_at_in_between_is_looked_at_from_the_beginning(cache: Cache) -> None:
    stops, deaths = Heartbeat(cache), Deaths(1)
    deaths.dead(beats_of(cache, stops))
    deaths.dead({})
    assert deaths.dead(beats_of(cache, stops)) == []


def test_where_no_other_process_can_be_nobody_beats() -> None:
    alone = connect("memory://", "wx0")
    heart = Heartbeat(alone)
    heart.beat()
    heart.end()
    assert beats_of(alone, heart) == {heart.name: None}
