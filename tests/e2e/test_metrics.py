"""The figures of all workers of a real uWSGI, through a reload and a worker's death, and who may see them."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.e2e.conftest import Site
from tests.faults.fans import ask
from tests.figures import Figures, figures
from tests.load.wechat import WeChat
from tests.servers import TOKEN, wait_for

BOUND = ("wechat_handlers_in_flight_bound", "thread")
REPLIED = ("wechat_messages_total", "", "replied", "text")


@pytest.fixture
def site(serve: Callable[..., Site], tmp_path: Path) -> Site:
    return serve(WECHAT_HANDLERS="tests.load.handlers", LOAD_RUNS=str(tmp_path / "runs"))


def scrape(site: Site) -> Figures:
    response = requests.get(f"http://127.0.0.1:{site.port}/metrics", timeout=10)
    assert (response.status_code, response.headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    return figures(response.text)


def in_flight(said: Figures) -> float:
    return sum(said["wechat_handlers_in_flight", place] for place in ("inline", "thread", "loop"))


def say(site: Site, count: int) -> None:
    with Phone(site.url, TOKEN, "oFanWhoIsCounted000000000000") as phone:
        for number in range(count):
            assert phone.deliver(text_message("oFanWhoIsCounted000000000000", f"quick {number}")).answered


def runs_of(site: Site) -> list[int]:
    path = site.folder / "runs"
    return [int(line.split()[2]) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_worker_gives_the_sum_of_all(site: Site) -> None:
    asked = []
    with WeChat([site.url]) as wechat:

        def both_workers_run() -> bool:
            asked.append(ask(wechat, "slow 4"))
            return len(set(runs_of(site))) == 2

        wait_for(both_workers_run)
        wait_for(lambda: len(runs_of(site)) == len(asked))
        assert {in_flight(scrape(site)) for _ in range(10)} == {len(asked)}
        assert all(one.is_right for one in asked)
    after = {(said[REPLIED], in_flight(said), said[BOUND]) for said in (scrape(site) for _ in range(10))}
    assert after == {(len(asked), 0, 2000)}


def test_a_dead_workers_messages_stay_and_its_handlers_in_flight_go(site: Site) -> None:
    say(site, 50)
    with WeChat([site.url], deliveries=1) as wechat:
        ask(wechat, "slow 30")
        wait_for(lambda: len(runs_of(site)) == 51)
        assert in_flight(scrape(site)) == 1
        os.kill(runs_of(site)[-1], signal.SIGKILL)
        wait_for(lambda: site.uwsgi.output().count("WSGI app 0") == 3)
        said = scrape(site)
        assert (in_flight(said), said[BOUND], said[REPLIED]) == (0, 2000, 50)
    say(site, 10)
    assert scrape(site)[REPLIED] == 60


def test_a_reload_counts_on_and_leaves_no_file(site: Site) -> None:
    say(site, 20)
    files = sorted(path.name for path in (site.folder / "run" / "metrics").iterdir())
    os.utime(site.folder / "run" / "reload", (2_000_000_000,) * 2)
    wait_for(lambda: site.uwsgi.output().count("WSGI app 0") == 4)
    say(site, 5)
    assert scrape(site)[REPLIED] == 25
    assert sorted(path.name for path in (site.folder / "run" / "metrics").iterdir()) == files


def test_a_file_that_broke_costs_its_figures_and_nothing_else(serve: Callable[..., Site], tmp_path: Path) -> None:
    folder = tmp_path / "run" / "metrics"
    folder.mkdir(parents=True)
    (folder / "counter_1.db").write_bytes(b"\xff\x00\x00\x00" * 300)
    (folder / "gauge_livesum_7.db").write_bytes(b"of a worker that is no more")
    running = serve()
    say(running, 3)
    assert scrape(running)[REPLIED] == 3
    assert not (folder / "gauge_livesum_7.db").exists()


def test_where_no_file_can_be_made_messages_are_answered(serve: Callable[..., Site], tmp_path: Path) -> None:
    running = serve(replacements={"%(run)/metrics": "/dev/full/metrics"})
    say(running, 3)
    assert "/metrics shows one worker's figures alone" in running.uwsgi.output()


def test_files_of_figures_and_sockets_are_for_their_owner(site: Site) -> None:
    metrics = list((site.folder / "run" / "metrics").iterdir())
    assert [oct(path.stat().st_mode)[-3:] for path in metrics] == ["600"] * 10
    assert oct((site.folder / "run" / "stats.sock").stat().st_mode)[-3:] == "660"


def test_uwsgis_own_figures_hold_nothing_of_a_request(site: Site) -> None:
    say(site, 3)
    with WeChat([site.url], deliveries=1) as wechat:
        ask(wechat, "slow 2")
        wait_for(lambda: len(runs_of(site)) == 4)
        command = [
            "python3",
            "-c",
            "import socket,sys; s=socket.socket(1); s.connect(sys.argv[1]); print(s.makefile().read())",
        ]
        path = str(site.folder / "run" / "stats.sock")
        stats = subprocess.run([*command, path], capture_output=True, text=True, check=True).stdout
    assert '"workers"' in stats
    assert not [word for word in ("signature", "oSlow", "nonce", TOKEN) if word in stats]


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_nginx_lets_this_machine_see_them_and_nobody_else(site: Site, path: str) -> None:
    url = f"http://127.0.0.1:{site.port}{path}"
    assert requests.get(url, timeout=10).status_code == 200
    assert requests.get(url, timeout=10, headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 404
    outsider = requests.Session()
    outsider.mount("http://", _From("127.0.0.2"))
    assert outsider.get(url, timeout=10).status_code == 404


class _From(requests.adapters.HTTPAdapter):
    """Connects from another address of this machine, which nginx does not take for it."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: object, **kwargs: object) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **kwargs)  # type: ignore[arg-type]
