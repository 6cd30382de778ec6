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
from app.doctor.uwsgi import INI_FILE, check_uwsgi, run_folder
from tests.doctor.conftest import said
from tests.servers import ROOT, Server, environment, free_port, program, substituted, uwsgi, wait_for

SMALL = {"threads = 1500": "threads = 20", "max-fd = 10000": "max-fd = 1000"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a uWSGI from the shipped file, with its socket where it belongs."""
    folder = tmp_path_factory.mktemp("uwsgi")
    socket_path = folder / "run" / "uwsgi.sock"
    with uwsgi(folder, environment(), socket_path=socket_path, replacements=SMALL):
        yield folder / "run"


def site(folder: Path, connections: int = 40960, user: str = "root") -> Site:
    events = Directive("events", [], Block([Directive("worker_connections", [str(connections)])]))
    main = Block([Directive("user", [user]), Directive("worker_processes", ["1"]), events])
    return Site([Location((main,), "uwsgi", f"unix:{folder}/uwsgi.sock")], main, {})


def test_one_that_runs_is_ok_in_every_line(running: Path) -> None:
    # A start takes its time to make its threads.
    wait_for(lambda: "42 threads" in said(check_uwsgi(running, site(running)), "uWSGI")[0][1])
    findings = list(check_uwsgi(running, site(running)))
    assert {finding.status for finding in findings} == {"ok"}
    assert [finding.name for finding in findings] == [
        "uwsgi.ini",
        "uWSGI",
        "uWSGI cache",
        "nginx connections",
        "socket",
    ]
    assert re.fullmatch(r"2\.\S+, 2 processes, 42 threads -> ", said(findings, "uWSGI")[0][1])
    assert "of 100000 items" in said(findings, "uWSGI cache")[0][1]


def test_too_few_connections_of_nginx_are_a_warning(running: Path) -> None:
    [(status, text)] = said(check_uwsgi(running, site(running, connections=79)), "nginx connections")
    assert status == "warning"
    assert "79 connections; 42 conversations" in text
    assert said(check_uwsgi(running, site(running, connections=84)), "nginx connections")[0][0] == "ok"


def test_a_user_of_nginx_who_may_not_use_the_socket_is_wrong(running: Path) -> None:
    [(status, text)] = said(check_uwsgi(running, site(running, user="nobody")), "socket")
    assert status == "wrong"
    assert "usermod -aG" in text
    assert said(check_uwsgi(running, site(running, user="no-such-user")), "socket")[0][0] == "warning"


@pytest.mark.parametrize(("mode", "status"), [(0o666, "wrong"), (0o440, "ok"), (0o660, "ok")])
def test_a_socket_that_everybody_may_write_to_is_wrong(mode: int, status: str, running: Path) -> None:
    path = running / "uwsgi.sock"
    before = path.stat().st_mode & 0o777
    assert before == 0o660
    path.chmod(mode)
    try:  # root may, whatever the mode is
        [(found, text)] = said(check_uwsgi(running, site(running)), "socket")
    finally:
        path.chmod(before)
    assert found == status
    assert ("chmod-socket = 660" in text) == (status == "wrong")


def test_without_a_socket_nginx_finds_nothing(running: Path) -> None:
    path = running / "uwsgi.sock"
    path.rename(running / "moved")
    try:
        assert said(check_uwsgi(running, None), "socket")[0][0] == "wrong"
        path.touch()
        assert "is no socket" in said(check_uwsgi(running, None), "socket")[0][1]
    finally:
        (running / "moved").rename(path)


def test_fewer_files_than_its_threads_want_are_a_warning(running: Path) -> None:
    with socket.socket(socket.AF_UNIX) as asked, asked.makefile("rb") as answer:
        asked.connect(str(running / "stats.sock"))
        worker = json.load(answer)["workers"][0]["pid"]
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        [(status, text)] = said(check_uwsgi(running, None), "uWSGI limits")
    finally:
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    assert status == "warning"
    assert "may open 200 files, and 21 threads want 242" in text


def test_one_without_the_application_is_wrong(tmp_path: Path) -> None:
    command = [program("uwsgi"), "--master", "--socket", str(tmp_path / "uwsgi.sock")]
    server = Server([*command, "--stats", str(tmp_path / "stats.sock")], tmp_path, os.environ)
    try:
        server.wait_until(lambda: (tmp_path / "stats.sock").exists() and "spawned uWSGI worker 1" in server.output())
        [(status, text)] = said(check_uwsgi(tmp_path, None), "uWSGI")
    finally:
        os.killpg(server.process.pid, signal.SIGKILL)  # a worker that has just begun may not hear another signal
        server.process.wait()
    assert status == "wrong"
    assert "without the application in worker 1" in text


def test_one_that_does_not_run_is_a_warning(tmp_path: Path) -> None:
    findings = list(check_uwsgi(tmp_path, None))
    assert [(finding.name, finding.status) for finding in findings] == [("uwsgi.ini", "ok"), ("uWSGI", "warning")]


def test_something_else_at_its_place_is_a_warning(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "stats.sock"))
        assert said(check_uwsgi(tmp_path, None), "uWSGI")[0][0] == "warning"


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
    [(found, text)] = said(check_uwsgi(tmp_path, None, ini), "uwsgi.ini")
    assert (found, says in text) == (status, True)


def test_the_accounts_own_size_counts_too(tmp_path: Path) -> None:
    (tmp_path / "shop.ini").write_text("[uwsgi]\nharakiri = 10\n")
    [(status, _)] = said(check_uwsgi(tmp_path / "shop", None, INI_FILE, tmp_path), "uwsgi.ini")
    assert status == "wrong"


def test_its_folder_is_what_nginx_says_or_systemd_or_beside_the_ini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert run_folder(None) == ROOT / "run"
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/wechat/shop")
    assert run_folder(None) == Path("/run/wechat/shop")
    assert run_folder(site(Path("/x"))) == Path("/x")


def test_one_without_a_socket_serves_http_itself(tmp_path: Path) -> None:
    port = free_port()
    with uwsgi(tmp_path, environment(), port=port, replacements=SMALL):
        [line] = said(check_uwsgi(tmp_path / "run", None), "socket")
    assert line == ("ok", f"none: uWSGI listens on 127.0.0.1:{port} -> ")
