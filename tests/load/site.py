"""The service under load: uWSGI from the shipped ini, behind nginx or alone, and the memory that it takes."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.conftest import nginx_config
from tests.meanwhile import Meanwhile
from tests.servers import Server, free_port, listens, program, uwsgi

_SAMPLE_SECONDS = 1.0


class Site(NamedTuple):
    url: str
    uwsgi: Server


@contextmanager
def site(
    folder: Path,
    env: Mapping[str, str],
    *,
    through_nginx: bool = True,
    replacements: Mapping[str, str] | None = None,
    prefix: tuple[str, ...] = (),
    loaded: bool = True,
) -> Iterator[Site]:
    """Run the service in ``folder`` with the environment ``env``, and yield where it answers.

    Without ``loaded`` it is yielded as soon as it accepts connections, which is before it can answer.
    """
    port = free_port()
    socket = folder / "uwsgi.sock" if through_nginx else None
    with ExitStack() as stack:
        started = uwsgi(
            folder, env, port=port, socket_path=socket, prefix=prefix, replacements=replacements, loaded=loaded
        )
        server = stack.enter_context(started)
        if loaded:
            _wait_for_threads(folder, server)
        if through_nginx:
            conf = nginx_config(folder, port)
            nginx = Server([program("nginx"), "-p", str(folder), "-c", str(conf)], folder, env)
            stack.callback(nginx.stop)
            nginx.wait_until(lambda: listens(port))
        else:
            server.wait_until(lambda: listens(port))
        yield Site(f"http://127.0.0.1:{port}/wechat", server)


def _wait_for_threads(folder: Path, server: Server) -> None:
    # While uWSGI starts its threads, the first messages are slow: not what is measured.
    ini = dict(re.findall(r"^(processes|threads) = (\d+)", (folder / "uwsgi_wechat.ini").read_text(), re.MULTILINE))
    wanted = int(ini["processes"]) * int(ini["threads"])
    server.wait_until(lambda: sum(map(threads_of, family(server.process.pid))) >= wanted)


class Footprint(NamedTuple):
    """What a process and all its descendants take together."""

    memory_mb: float
    files: int
    threads: int


def footprint(pid: int) -> Footprint:
    """Measure the process and all its descendants; memory is the sum of Pss."""
    members = family(pid)
    files = sum(len(list(Path(f"/proc/{member}/fd").iterdir())) for member in members)
    return Footprint(sum(map(pss_mb, members)), files, sum(map(threads_of, members)))


class Memory(Meanwhile):
    """Watches the memory of a process and all its descendants while the context is entered; ``peak_mb`` in MB of Pss.

    Pss counts a page that n processes share as 1/n of it in each, so that the sum is what they take together.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(self._watch)
        self.peak_mb = 0.0
        self._pid = pid

    def _watch(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, sum(map(pss_mb, family(self._pid))))
            if self.is_over.wait(_SAMPLE_SECONDS):
                return


def family(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    children = defaultdict(list)
    for status in Path("/proc").glob("[0-9]*/stat"):
        # "PID (NAME) STATE PPID ...", and a name may hold anything.
        fields = _read(status).rpartition(")")[2].split()
        if fields:
            children[int(fields[1])].append(int(status.parent.name))
    family = [pid]
    for member in family:
        family += children[member]
    return family


def pss_mb(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", _read(Path(f"/proc/{pid}/smaps_rollup")), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def threads_of(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").glob("*"))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""
