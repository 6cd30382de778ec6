"""Print the process ids of uWSGI's workers where all of them have loaded the application; else exit with 1.

python workers.py STATS-SOCKET
"""

import json
import socket
import sys


def workers(path: str) -> list[int]:
    """Return the process ids of the workers, 0 for one that has not loaded the application; [] where nobody answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(path)
            with connection.makefile() as answer:
                figures = json.load(answer)
        except (OSError, ValueError):
            return []
    return [worker["pid"] if worker["apps"] else 0 for worker in figures["workers"]]


if __name__ == "__main__":
    found = workers(sys.argv[1])
    if not found or 0 in found:
        sys.exit(1)
    print(*found, sep="\n")
