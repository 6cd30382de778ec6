"""Real servers for tests and benchmarks, started from the shipped files with paths and ports substituted."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TOKEN = "tokenForTests1"
APPID = "wxb11529c136998cb6"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
START_SECONDS = 20
STOP_SECONDS = 70


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], seconds: float = START_SECONDS, what: str = "the condition") -> Any:
    """Return the first true value of ``condition``, asked every 20 ms; raises TimeoutError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(0.02)
    return value


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with exactly these WECHAT_ settings and a token."""
    # MAKE…: a make that a test starts is none of the one that runs the tests.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WECHAT_", "MAKE", "MFLAGS"))}
    return kept | {"WECHAT_TOKEN": TOKEN, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | settings


class Server:
    """A process of our own, its output in a file, ended by its process id."""

    def __init__(self, command: list[str], folder: Path, env: Mapping[str, str], prefix: tuple[str, ...] = ()) -> None:
        self.log = folder / f"{Path(command[0]).name}.log"
        self._command, self._folder, self._env = [*prefix, *command], folder, dict(env)
        self.start()

    def start(self) -> None:
        """Start it, also again after it has ended; its log goes on."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    def wait_until(self, ready: Callable[[], Any]) -> None:
        def ready_or_dead() -> Any:
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended with {self.process.returncode}: {self.output()}")
            return ready()

        wait_for(ready_or_dead, what=str(self.process.args))

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)  # its workers, too
                self.process.wait()
                raise


def program(name: str) -> str:
    """Return the path of a program beside this Python, or on the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if not found:
        raise FileNotFoundError(f"{name} is not installed; make test installs it")
    return found


def substituted(source: Path, target: Path, replacements: Mapping[str, str]) -> Path:
    """Write ``source`` to ``target`` with each replacement made; one that finds nothing to replace is an error."""
    text = source.read_text()
    for old, new in replacements.items():
        if old not in text:
            raise ValueError(f"{source.name} has no {old!r}")
        text = text.replace(old, new)
    target.write_text(text)
    return target


@contextmanager
def uwsgi(
    folder: Path,
    env: Mapping[str, str],
    *,
    port: int = 0,
    socket_path: Path | None = None,
    prefix: tuple[str, ...] = (),
    replacements: Mapping[str, str] | None = None,
    loaded: bool = True,
) -> Iterator[Server]:
    """Run uWSGI from uwsgi_wechat.ini in ``folder``, on a port of 127.0.0.1 or on a unix socket.

    ``loaded`` is whether to wait until all of its processes have loaded the application.
    """
    changes = {"%(run)/uwsgi.sock": str(socket_path), **(replacements or {})}
    ini = substituted(ROOT / "uwsgi_wechat.ini", folder / "uwsgi_wechat.ini", changes)
    processes = int(re.findall(r"^processes = (\d+)", ini.read_text(), re.MULTILINE)[0])
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "reload").touch()
    http = [] if socket_path else ["--http-socket", f"127.0.0.1:{port}"]
    server = Server([program("uwsgi"), *http, "--ini", str(ini)], folder, env, prefix)
    try:
        if loaded:
            server.wait_until(lambda: server.output().count("WSGI app 0") == processes)
        yield server
    finally:
        server.stop()
