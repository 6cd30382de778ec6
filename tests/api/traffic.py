"""One process of traffic on WeChat's API: threads that call it from a go until a stop, and print what came of it.

python -m tests.api.traffic FOLDER THREADS NUMBER: prints "calls failures"; NUMBER calls a thread, 0 for until the stop.
"""

import sys
import threading
from pathlib import Path

from app.api.client import Client
from app.cache import connect
from app.config import load
from app.errors import ApiError
from tests.servers import wait_for

GO, STOP = "go", "stop"


def main(folder: Path, threads: int, number: int) -> None:
    """Run the traffic."""
    settings = load()
    client = Client(settings, connect(settings.cache_url, settings.appid))
    done: list[bool] = []

    def run() -> None:
        while not (folder / STOP).exists():
            try:
                client.get_api_quota("/never/called")
                done.append(True)
            except ApiError as error:
                print(error, file=sys.stderr)
                done.append(False)
            if number and len(done) >= number:
                return

    (folder / f"ready{threading.get_native_id()}").touch()
    wait_for(lambda: (folder / GO).exists())
    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(len(done), done.count(False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
