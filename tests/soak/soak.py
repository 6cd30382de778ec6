"""make soak MINUTES=10: everything at once, with faults and recycled workers, and a table of what came of it."""

import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from flask_migrate import upgrade

from app import create_app
from app.config import load
from tests.faults.redis_server import RedisServer
from tests.faults.service import Service
from tests.load.load import allow_open_files
from tests.load.site import Footprint, footprint, site
from tests.load.wechat import WeChat
from tests.servers import AES_KEY, environment, wait_for
from tests.soak.harm import Harm
from tests.soak.traffic import Fans, Others, Verdict, judge
from tests.wechat_server import WeChatServer, wechat_server

_DRAIN_SECONDS = 45  # the longest handler, begun anew at the third delivery, and the next delivery that is waited for
_MOST_GROWTH = 0.10
_DARK_SECONDS = 2.5  # a worker does without the cache for a second, and says so once a second
# Shares of the time: until memory is that of a service at work, and until workers are left alone.
_WARM, _RECYCLED = 0.15, 0.55


class Soak(NamedTuple):
    """What came of it; the footprints are those of the warm service, after the last recycling, and at the end."""

    verdicts: list[Verdict]
    refused: int
    taken: int
    taken_in_the_dark: int
    looked: int
    faults: Counter[str]
    runs: int
    footprints: list[Footprint]

    @property
    def is_right(self) -> bool:
        """Tell whether nothing was lost, answered twice, or refused or taken wrongly.

        Without the cache nobody knows which signatures have been used: where the log says so, that is no mistake.
        """
        bad = sum(verdict.lost + verdict.twice + verdict.refused for verdict in self.verdicts)
        return not bad and not self.taken

    @property
    def growth(self) -> float:
        """How much more memory the end took than the service after the last recycling."""
        return self.footprints[-1].memory_mb / self.footprints[1].memory_mb - 1


def main() -> int:
    """Soak for so many minutes as the first argument says, and return the exit status."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    allow_open_files()
    with tempfile.TemporaryDirectory() as name:
        done = soak(Path(name), minutes * 60)
    print_tables(done, minutes)
    return 0 if done.is_right and done.growth < _MOST_GROWTH else 1


def soak(folder: Path, seconds: float, apart_seconds: float = 12.0) -> Soak:
    """Run it in ``folder``, with a fault every ``apart_seconds``. Raises RuntimeError where it cannot start."""
    started = time.monotonic()

    def wait_until(share: float) -> None:
        threading.Event().wait(max(0.0, started + share * seconds - time.monotonic()))

    with _running(folder) as (service, redis, server), ExitStack() as stack:
        plain, sealed = (stack.enter_context(WeChat([service.url], mode)) for mode in ("normal", "compatible"))
        footprints = []
        harm = Harm(service, redis, server, apart_seconds)
        with Others(service.url) as others, Fans((plain, sealed), server) as fans:
            wait_until(_WARM)
            footprints.append(_footprint(service))
            with harm:
                wait_until(_RECYCLED)
                harm.settle()
                wait_until(_RECYCLED + _WARM)
                footprints.append(_footprint(service))
                wait_until(1)
        server.wechat.heal()
        threading.Event().wait(_DRAIN_SECONDS)
        verdicts = list(judge(fans, server, plain, harm.cut(service.runs)))
        footprints.append(_footprint(service))
        runs, dark = len(service.runs), cache_failures(service.uwsgi.output())
    excused = sum(any(0 <= when - said < _DARK_SECONDS for said in dark) for when in others.taken)
    taken = len(others.taken) - excused + others.believed
    return Soak(verdicts, others.refused, taken, excused, others.looked, Counter(harm.done), runs, footprints)


def cache_failures(output: str) -> list[float]:
    """Return when, in seconds since 1970, a worker said that it does without the cache."""
    lines = re.findall(r"^(\S+) ERROR wechat.cache the cache fails", output, re.MULTILINE)
    return [datetime.strptime(when, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() for when in lines]


@contextmanager
def _running(folder: Path) -> Iterator[tuple[Service, RedisServer, WeChatServer]]:
    with (
        RedisServer(folder, "--appendonly", "yes", "--appendfsync", "always") as redis,
        wechat_server(folder) as server,
    ):
        settings = {
            "WECHAT_HANDLERS": "tests.load.handlers",
            "WECHAT_ENCRYPT_MODE": "compatible",
            "WECHAT_ENCODING_AES_KEY": AES_KEY,
            "WECHAT_CACHE_URL": redis.url,
            "WECHAT_DATABASE_URL": f"sqlite:///{folder}/instance/wechat.db",
            **server.settings,
        }
        env = environment(**settings, LOAD_RUNS=str(folder / "runs"))
        app = create_app(load(env | {"WECHAT_CACHE_URL": "memory://"}, folder / "no.env"))
        with app.app_context():
            upgrade()
        with site(folder, env) as running:
            yield Service(running.url, running.uwsgi, folder), redis, server


def _footprint(service: Service) -> Footprint:
    """Measure it while no worker is being replaced."""
    wait_for(lambda: service.loads == service.uwsgi.output().count("spawned uWSGI worker"), 60)
    return footprint(service.uwsgi.process.pid)


def print_tables(done: Soak, minutes: float) -> None:
    """Print what came of it, as two Markdown tables."""
    print("| what fans did | messages | right once | lost | lost with a killed worker | twice | refused wrongly |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for verdict in done.verdicts:
        print("|", verdict.kind.name, "|", " | ".join(f"{count:,}" for count in verdict[1:]), "|")
    faults = ", ".join(f"{count} x {what}" for what, count in done.faults.items())
    dark = f"{done.taken_in_the_dark} taken while the log said that the cache fails"
    print(f"\n{done.refused:,} forged requests refused, {dark}, {done.taken} otherwise;")
    print(f"figures looked at {done.looked:,} times;", end=" ")
    print(f"{done.runs:,} runs of handlers. Faults: {faults}.\n")
    print(f"| {minutes:g} minutes | warm | after the last recycling | at the end |")
    print("|---|---:|---:|---:|")
    for name, unit in (("memory_mb", "memory, MB"), ("files", "file descriptors"), ("threads", "threads")):
        print("|", unit, "|", " | ".join(f"{getattr(seen, name):,.0f}" for seen in done.footprints), "|")
    print(f"\nMemory grew by {done.growth:+.1%}; {'right' if done.is_right else 'NOT RIGHT'}.")


if __name__ == "__main__":
    sys.exit(main())
