"""make accounts: print how an account's fans are answered while its neighbour on the same machine is in trouble.

Usage: python -m tests.accounts.measure [--only NAME] [--seconds S]
"""

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from tests.accounts.machine import Account, Machine
from tests.accounts.troubles import FULL_DISK, TROUBLES, Trouble, kill
from tests.faults.fans import Crowd, wrong
from tests.load.load import allow_open_files
from tests.load.wechat import WeChat
from tests.servers import environment, program

NAMES = ("shop", "club")
_HEAD = "| the neighbour's trouble | messages | wrong | delivered again | p50 ms | p99 ms | slowest ms |"


class Row(NamedTuple):
    """How the fans of the account beside were answered."""

    trouble: str
    messages: int
    wrong: list[Any]
    again: int
    milliseconds: list[float]

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.milliseconds, n=100, method="inclusive")
        figures = (f"{value:,.1f}" for value in (cuts[49], cuts[98], max(self.milliseconds)))
        counts = (f"{value:,}" for value in (self.messages, len(self.wrong), self.again))
        return f"| {' | '.join([self.trouble, *counts, *figures])} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="troubles whose name has this in it")
    parser.add_argument("--seconds", type=float, default=15, help="how long the neighbour is watched")
    options = parser.parse_args()
    allow_open_files()
    rows, empty_database = [], _empty_database()
    print(_HEAD, "|---" + "|---:" * 6 + "|", sep="\n", flush=True)
    for trouble in TROUBLES:
        if options.only in trouble.name:
            rows.append(watch(trouble, options.seconds, empty_database))
            print(rows[-1], flush=True)
    return 1 if any(row.wrong for row in rows) else 0


def watch(
    trouble: Trouble,
    seconds: float,
    empty_database: bytes,
    *,
    processes: int = 2,
    flood_per_second: int = 300,
) -> Row:
    """Let the trouble befall an account, and return how fans of another are answered meanwhile, 50 a second."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0), backlog=4096) as silent,
        Machine(Path(folder)) as machine,
    ):
        disk = FULL_DISK if trouble.disk_is_full else ()
        own: dict[str, dict[str, Any]] = {name: {"prefix": disk} for name in NAMES}
        if trouble.database_is_silent:
            own["shop"]["WECHAT_DATABASE_URL"] = f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/wechat"
        size = {"processes": processes, "empty_database": empty_database}
        shop, club = machine.add(*NAMES, own=own, WECHAT_HANDLERS="tests.accounts.handlers", **size)
        try:
            with trouble.happen(shop, flood_per_second):
                crowd = _ask(club, seconds, trouble)
        finally:
            kill(shop)
    results = [one.result for one in crowd.asked]
    again, milliseconds = sum(one.deliveries > 1 for one in results), [one.seconds * 1000 for one in results]
    return Row(trouble.name, len(results), wrong(crowd.asked), again, milliseconds)


def _ask(club: Account, seconds: float, trouble: Trouble) -> Crowd:
    with (
        WeChat([club.service.url], token=club.token) as wechat,
        trouble.happen(club, 0) if trouble.disk_is_full else nullcontext(),
    ):
        with Crowd(wechat, "quick", per_second=50) as crowd:
            threading.Event().wait(seconds)
        wrong(crowd.asked)  # waits for all answers
    return crowd


def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [program("flask"), "db", "upgrade"]
        subprocess.run(command, cwd=folder, env=environment(FLASK_APP="runserver"), check=True, capture_output=True)
        return (Path(folder) / "instance" / "wechat.db").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
