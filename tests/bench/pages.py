"""Measure how long the console's pages take on the server: 100,000 messages in a day, and WeChat's API says nothing.

Usage: python -m tests.bench.pages [--requests N]
"""

import argparse
import re
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from tests.console.busy import fill
from tests.console.conftest import PASSWORD
from tests.load.site import site
from tests.servers import APPID, environment

PAGES = (
    "/", "/?span=day", "/live?span=hour", "/live?span=day", "/handlers", "/menu", "/menu?revision=7",
    "/codes", "/codes?page=20", "/codes?q=0999", "/codes/500", "/codes/500.svg", "/codes/500.png",
    "/fans", "/fans?q=99", "/fans?openid=oFan000000000000000000000500",
    "/messages", "/messages?openid=oFan000000000000000000000500", "/doctor",
)  # fmt: skip
FANS = 100_000


class Measured(NamedTuple):
    """A page: its size in KB, and the median and longest time in ms."""

    page: str
    kilobytes: float
    median_ms: float
    most_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=30)
    options = parser.parse_args()
    print("| page | KB | ms, median | ms, most |")
    print("|---|---:|---:|---:|")
    for one in measure(options.requests, FANS):
        print(f"| `{one.page}` | {one.kilobytes:.0f} | {one.median_ms:.0f} | {one.most_ms:.0f} |")


def measure(count: int, fans: int) -> list[Measured]:
    """Ask for each page ``count`` times, one after another, through nginx."""
    with tempfile.TemporaryDirectory() as name, _silent_api() as api:
        folder = Path(name)
        fill(folder, APPID, fans)
        account = {"WECHAT_APPID": APPID, "WECHAT_APPSECRET": "5ecret5ecret5ecret5ecret5ecret00"}
        env = environment(WECHAT_ADMIN_PASSWORD=PASSWORD, WECHAT_API_BASE_URL=api, **account)
        with site(folder, env) as service:
            base = service.url.removesuffix("/wechat") + "/console"
            with requests.Session() as http:
                http.trust_env = False
                form = {"operator": "ops", "password": PASSWORD}
                http.post(f"{base}/login", data=form, headers={"Origin": base.removesuffix("/console")}, timeout=30)
                return [_measured(http, base, page, count) for page in PAGES]


def _measured(http: requests.Session, base: str, page: str, count: int) -> Measured:
    took, size = [], 0
    for _ in range(count):
        began = time.perf_counter()
        response = http.get(base + page, timeout=30, allow_redirects=False)
        took.append((time.perf_counter() - began) * 1000)
        size = len(response.content)
        if response.status_code != 200:
            raise RuntimeError(f"{page}: {response.status_code} {re.sub('<[^>]+>', ' ', response.text)[:300]}")
    return Measured(page, size / 1000, statistics.median(took), max(took))


@contextmanager
def _silent_api() -> Iterator[str]:
    """An API that takes calls and says nothing: worse than one that cannot be reached."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


if __name__ == "__main__":
    main()
