"""What is written is for who wrote it: nobody else on the machine reads a message, a fan or a secret."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from app.sandbox.messages import event_message, text_message
from tests.security.conftest import OPENID, PATH, Site
from tests.security.raw import OPERATOR, exchange, request
from tests.servers import ROOT, environment, program

PLAYED = {"WECHAT_SANDBOX": "1", "WECHAT_API_BASE_URL": "http://127.0.0.1:1/sandbox/api"}


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


def test_what_the_service_writes_only_its_user_reads(serve: Callable[..., Site]) -> None:
    before = os.umask(0o022)  # a user's own
    try:
        site = serve(**PLAYED)
    finally:
        os.umask(before)
    env = environment(FLASK_APP="runserver:application", WECHAT_PATH=PATH, **PLAYED)
    subprocess.run([program("flask"), "db", "upgrade"], cwd=site.folder, env=env, check=True, capture_output=True)
    with site.phone() as fan:
        assert fan.deliver(text_message(OPENID, "quick written")).shown == "quick written"
        assert fan.deliver(event_message(OPENID, "scan", scene="poster")).answered
    for page in ("metrics", "readyz", "sandbox/api/cgi-bin/token"):
        assert exchange(site.port, request(f"{PATH}/{page}", host="localhost"), OPERATOR)[0].status == 200
    found = modes(site.folder / "instance") | modes(site.folder / "run")
    assert (site.folder / "run" / "reload").read_bytes() == b""
    del found["reload"]  # touched by operators, and nothing is in it
    assert {"wechat.db", "sandbox.db", "stats.sock", "metrics"} <= set(found)
    assert len([name for name in found if name.startswith("metrics/")]) >= 2
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077 and not name.endswith(".sock")} == {}
    assert {oct(mode & 0o007) for mode in found.values()} == {"0o0"}


def test_nobody_but_the_user_and_nginxs_group_comes_to_the_sockets(site: Site) -> None:
    for path in (site.folder / "uwsgi.sock", site.folder / "run" / "stats.sock"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0, path


def test_the_figures_of_uwsgi_hold_nothing_of_a_request(site: Site) -> None:
    with site.phone() as fan:
        assert fan.deliver(text_message(OPENID, "quick figures")).shown == "quick figures"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(site.folder / "run" / "stats.sock"))
        figures = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert '"requests":' in figures
    assert [word for word in ("signature", OPENID, "figures", "QUERY_STRING") if word in figures] == []


def test_the_settings_that_make_writes_only_their_user_reads(tmp_path: Path) -> None:
    for name in ("Makefile", ".env.example", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    command = ["make", "--no-print-directory", "--old-file", ".venv/.service", ".env"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, umask=0)
    assert (done.returncode, done.stdout) == (0, "wrote .env with a random token\n"), done.stderr
    written = (tmp_path / ".env").read_text()
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert "\nWECHAT_TOKEN=\n" not in written
    assert "\nWECHAT_SECRET_KEY=\n" not in written
    assert written not in done.stdout
