"""Processes that ask for the same permanent QR code at once: each prints its process id and the ticket."""

import multiprocessing
import os
import sys
from typing import Any

from app import create_app
from app.api import create_qrcode


def ask(scene: str, start: Any) -> None:
    """Open a service of its own, and ask when all the others are about to."""
    app = create_app()
    start.wait(30)
    with app.app_context():
        os.write(1, f"{os.getpid()} {create_qrcode(scene).ticket}\n".encode())  # at one go


def main(scene: str, count: int) -> int:
    """Run ``count`` processes and return how many failed."""
    fork = multiprocessing.get_context("fork")  # before anything is open: what they share is what was imported
    start = fork.Barrier(count)
    processes = [fork.Process(target=ask, args=(scene, start)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return sum(process.exitcode != 0 for process in processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
