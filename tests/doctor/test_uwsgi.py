"""The doctor on uWSGI: a real one, its socket, and inis with one thing wrong."""

import json
import os
import re
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.doctor.nginx import Location, Site
from app.doctor.nginx_files import Block, Directive
from app.doctor.running import cache_fills
from app.doctor.uwsgi import INI_FILE, _check_caches, check_uwsgi, run_folder
from tests.doctor.conftest import said
from tests.security.raw import ask_on_socket
from tests.servers import ROOT, Server, environment, free_port, program, substituted, uwsgi

AT_ONCE = 1000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a uWSGI from the shipped file, with its socket where it belongs."""
    folder = tmp_path_factory.mktemp("uwsgi")
    socket_path = folder / "run" / "uwsgi.sock"
    with uwsgi(folder, environment(), socket_path=socket_path):
        yield folder / "run"


def site(folder: Path, connections: int = 40960, user: str = "root", at_once: int = 10_000) -> Site:
    events = Directive("events", [], Block([Directive("worker_connections", [str(connections)])]))
    bound = Directive("limit_conn", ["wechat_account", str(at_once)])
    main = Block([Directive("user", [user]), Directive("worker_processes", ["1"]), events, bound])
    return Site([Location((main,), "uwsgi", f"unix:{folder}/uwsgi.sock")], main, {})


def test_one_that_runs_is_ok_in_every_line(running: Path) -> None:
    findings = list(check_uwsgi(running, site(running), AT_ONCE))
    assert {finding.status for finding in findings} == {"ok"}
    assert [finding.name for finding in findings] == [
        "uwsgi.ini",
        "uWSGI",
        "uWSGI cache",
        "uWSGI cache",
        "nginx connections",
        "socket",
    ]
    in_hand = "0 deliveries held; handlers: 0 inline, 0 in threads, 0 on the event loop"
    assert re.fullmatch(rf"2\.\S+, 2 processes, \d+ threads; {in_hand} -> ", said(findings, "uWSGI")[0][1])
    assert [text.partition(":")[0] for _, text in said(findings, "uWSGI cache")] == ["wechat", "wechat-fans"]


@pytest.mark.parametrize(
    ("items", "full", "measured", "says"),
    [
        (79, 0, 0.79, []),
        (80, 0, 0.1, ["wechat-fans: 80 of 100 items"]),
        (10, 0, 0.8, ["the room of fans was 80% full"]),
        (10, 3, 0.1, ["the cache wechat-fans was full 3 times: sessions may have been lost"]),
    ],
)
def test_a_cache_that_is_nearly_full_is_told_before_it_is_full(
    items: int, full: int, measured: float, says: list[str]
) -> None:
    caches = [
        {"name": "wechat", "items": 1, "max_items": 100, "full": 0},
        {"name": "wechat-fans", "items": items, "max_items": 100, "full": full},
    ]
    found = said(_check_caches(caches, {"messages": 0.1, "fans": measured}), "uWSGI cache")
    warnings = [text for status, text in found if status == "warning"]
    assert [expected in text for expected, text in zip(says, warnings, strict=True)] == [True] * len(says)


def test_what_the_workers_have_measured_is_read_from_their_figures(running: Path) -> None:
    asked = {"REQUEST_METHOD": "GET", "PATH_INFO": "/readyz", "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    assert b"room of fans: 0% full" in ask_on_socket(running / "uwsgi.sock", asked)
    assert cache_fills(running / "metrics").keys() == {"messages", "fans"}


def test_where_the_figures_cannot_be_read_it_is_ok_without_them(running: Path) -> None:
    (running / "metrics").rename(running / "moved")
    try:
        [(status, text)] = said(check_uwsgi(running, None, AT_ONCE), "uWSGI")
    finally:
        (running / "moved").rename(running / "metrics")
    assert (status, "held" in text) == ("ok", False)


@pytest.mark.parametrize(
    ("at_once", "connections", "status", "says"),
    [
        (2000, 3999, "warning", "3999 connections; 2000 deliveries can be held, which take two each"),
        (2000, 4000, "ok", "4000 for 2000 held deliveries"),
        (10**6, 37_999, "warning", "37999 connections; 19000 deliveries can be held"),  # by 10,000 files a process
        (10**6, 38_000, "ok", "38000 for 19000 held deliveries"),
    ],
)
def test_too_few_connections_of_nginx_for_what_can_be_held_are_a_warning(
    at_once: int, connections: int, status: str, says: str, running: Path
) -> None:
    nginx = site(running, connections=connections, at_once=at_once)
    [(found, text)] = said(check_uwsgi(running, nginx, AT_ONCE), "nginx connections")
    assert (found, says in text) == (status, True), text


def test_a_user_of_nginx_who_may_not_use_the_socket_is_wrong(running: Path) -> None:
    [(status, text)] = said(check_uwsgi(running, site(running, user="nobody"), AT_ONCE), "socket")
    assert status == "wrong"
    assert "usermod -aG" in text
    assert said(check_uwsgi(running, site(running, user="no-such-user"), AT_ONCE), "socket")[0][0] == "warning"


@pytest.mark.parametrize(("mode", "status"), [(0o666, "wrong"), (0o440, "ok"), (0o660, "ok")])
def test_a_socket_that_everybody_may_write_to_is_wrong(mode: int, status: str, running: Path) -> None:
    path = running / "uwsgi.sock"
    before = path.stat().st_mode & 0o777
    assert before == 0o660
    path.chmod(mode)
    try:  # root may, whatever the mode is
        [(found, text)] = said(check_uwsgi(running, site(running), AT_ONCE), "socket")
    finally:
        path.chmod(before)
    assert found == status
    assert ("chmod-socket = 660" in text) == (status == "wrong")


def test_without_a_socket_nginx_finds_nothing(running: Path) -> None:
    path = running / "uwsgi.sock"
    path.rename(running / "moved")
    try:
        assert said(check_uwsgi(running, None, AT_ONCE), "socket")[0][0] == "wrong"
        path.touch()
        assert "is no socket" in said(check_uwsgi(running, None, AT_ONCE), "socket")[0][1]
    finally:
        (running / "moved").rename(path)


def test_few_files_are_a_warning_since_each_held_delivery_takes_one(running: Path) -> None:
    with socket.socket(socket.AF_UNIX) as asked, asked.makefile("rb") as answer:
        asked.connect(str(running / "stats.sock"))
        worker = json.load(answer)["workers"][0]["pid"]
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        [(status, text)] = said(check_uwsgi(running, None, AT_ONCE), "uWSGI limits")
    finally:
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    assert status == "warning"
    assert "may open 1024 files, and holds 524 waiting deliveries at most" in text


@pytest.mark.parametrize(("most", "warns"), [("1999", True), ("2000", False), ("max", False)])
def test_a_unit_that_may_not_have_a_thread_for_each_handler_is_a_warning(
    most: str, warns: bool, running: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    folder = tmp_path / (unit[1] if unit else "")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pids.max").write_text(most)
    monkeypatch.setattr("app.doctor.limits._CGROUP", tmp_path)
    found = said(check_uwsgi(running, None, AT_ONCE), "uWSGI limits")
    expected = "the unit may have 1999 threads, and 2 processes may run 2000 handlers at once"
    assert [expected in text for _, text in found] == [True] * warns


def test_one_without_the_application_is_wrong(tmp_path: Path) -> None:
    command = [program("uwsgi"), "--master", "--socket", str(tmp_path / "uwsgi.sock")]
    server = Server([*command, "--stats", str(tmp_path / "stats.sock")], tmp_path, os.environ)
    try:
        server.wait_until(lambda: (tmp_path / "stats.sock").exists() and "spawned uWSGI worker 1" in server.output())
        [(status, text)] = said(check_uwsgi(tmp_path, None, AT_ONCE), "uWSGI")
    finally:
        os.killpg(server.process.pid, signal.SIGKILL)  # a worker that has just begun may not hear another signal
        server.process.wait()
    assert status == "wrong"
    assert "without the application in worker 1" in text


def test_one_that_does_not_run_is_a_warning(tmp_path: Path) -> None:
    findings = list(check_uwsgi(tmp_path, None, AT_ONCE))
    assert [(finding.name, finding.status) for finding in findings] == [("uwsgi.ini", "ok"), ("uWSGI", "warning")]


def test_something_else_at_its_place_is_a_warning(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "stats.sock"))
        assert said(check_uwsgi(tmp_path, None, AT_ONCE), "uWSGI")[0][0] == "warning"


@pytest.mark.parametrize(
    ("old", "new", "status", "says"),
    [
        ("lazy-apps = true", "lazy-apps = true\nharakiri = 30", "wrong", "harakiri"),
        ("lazy-apps = true", "", "warning", "chain-reload"),
        ("touch-chain-reload = %(run)/reload", "", "warning", "chain-reload"),
        ("listen = 1024", "listen = 100000", "wrong", "net.core.somaxconn"),
        ("; No harakiri", "; harakiri = 20", "ok", "no harakiri"),
    ],
)
def test_an_ini_that_cannot_go_well_is_told(old: str, new: str, status: str, says: str, tmp_path: Path) -> None:
    ini = substituted(INI_FILE, tmp_path / "uwsgi.ini", {old: new})
    [(found, text)] = said(check_uwsgi(tmp_path, None, AT_ONCE, ini=ini), "uwsgi.ini")
    assert (found, says in text) == (status, True)


def test_the_accounts_own_size_counts_too(tmp_path: Path) -> None:
    (tmp_path / "shop.ini").write_text("[uwsgi]\nharakiri = 10\n")
    [(status, _)] = said(check_uwsgi(tmp_path / "shop", None, AT_ONCE, accounts=tmp_path), "uwsgi.ini")
    assert status == "wrong"


def test_its_folder_is_what_nginx_says_or_systemd_or_beside_the_ini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert run_folder(None) == ROOT / "run"
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/wechat/shop")
    assert run_folder(None) == Path("/run/wechat/shop")
    assert run_folder(site(Path("/x"))) == Path("/x")


def test_one_without_a_socket_serves_http_itself(tmp_path: Path) -> None:
    port = free_port()
    with uwsgi(tmp_path, environment(), port=port):
        [line] = said(check_uwsgi(tmp_path / "run", None, AT_ONCE), "socket")
    assert line == ("ok", f"none: uWSGI listens on 127.0.0.1:{port} -> ")
