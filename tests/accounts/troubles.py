"""What can befall an account, while its neighbour is watched."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import NamedTuple

from tests.accounts.machine import Account
from tests.servers import ROOT, wait_for

# The databases of both are on a disk of 1 MB, which is full.
FULL_DISK = (
    "unshare",
    *(["--map-root-user"] if os.geteuid() else []),
    "--mount",
    "sh",
    "-c",
    "cp instance/wechat.db . && mount -t tmpfs -o size=1m tmpfs instance && mv wechat.db instance/ && "
    'cat /dev/zero > instance/full; exec "$@"',
    "sh",
)


class Trouble(NamedTuple):
    """``happen(account, per_second)`` lasts while its context is entered."""

    name: str
    happen: Callable[[Account, int], AbstractContextManager[None]]
    disk_is_full: bool = False
    database_is_silent: bool = False


@contextmanager
def nothing(_: Account, __: int) -> Iterator[None]:
    yield


@contextmanager
def overload(account: Account, per_second: int) -> Iterator[None]:
    """Every slot has a handler of a minute, and all who come then are told that it is busy."""
    with flood(account, per_second, "slow 60"):
        wait_for(lambda: any(line.outcome == "busy" for line in account.service.lines), 60, "a busy answer")
        yield


@contextmanager
def computing(account: Account, _: int) -> Iterator[None]:
    """Both processes compute without an end."""
    with flood(account, 50, "compute 5"):
        yield


@contextmanager
def crash_loop(account: Account, _: int) -> Iterator[None]:
    """Its uWSGI is killed, with all processes, whenever it is up; in between it is down for a second."""
    stop = threading.Event()

    def kill_and_start() -> None:
        while True:
            kill(account)
            if stop.wait(1):
                return
            loads = account.service.loads
            account.service.uwsgi.start()
            wait_for(lambda: account.service.loads > loads, what="a start")  # noqa: B023 (waited for here)

    thread = threading.Thread(target=kill_and_start)
    thread.start()
    try:
        with flood(account, 20, "quick"):
            yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def bad_deploy(account: Account, _: int) -> Iterator[None]:
    """Its handlers cannot be imported any more, and it is reloaded."""
    path = account.service.folder / ".env"
    path.write_text(path.read_text() + "WECHAT_HANDLERS=no_such_bot\n")
    account.service.signal(signal.SIGHUP)
    account.service.uwsgi.process.wait(60)
    with flood(account, 20, "quick"):
        yield


@contextmanager
def fans_leave(account: Account, _: int) -> Iterator[None]:
    """So many unsubscribe that its database is asked all along."""
    with flood(account, 20, "leave"):
        wait_for(lambda: "not recorded yet" in account.service.uwsgi.output(), what="a database that fails")
        yield


@contextmanager
def flood(account: Account, per_second: int, what: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.accounts.flood", account.service.url, account.token, str(per_second), what]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def kill(account: Account) -> None:
    """kill -9 of its uWSGI, master and workers."""
    with suppress(ProcessLookupError):
        os.killpg(account.service.uwsgi.process.pid, signal.SIGKILL)
    account.service.uwsgi.process.wait()


TROUBLES = [
    Trouble("none", nothing),
    Trouble("overloaded: every slot has a slow handler, all others are told it is busy", overload),
    Trouble("its handlers compute, in both processes, without an end", computing),
    Trouble("killed with kill -9 whenever it is up", crash_loop),
    Trouble("down after a bad deploy (502)", bad_deploy),
    Trouble("the disk of both is full, fans unsubscribe", fans_leave, disk_is_full=True),
    Trouble("its database says nothing, fans unsubscribe", fans_leave, database_is_silent=True),
]
