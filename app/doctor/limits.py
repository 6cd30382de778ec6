"""The limits of uWSGI, its unit and nginx: do they fit what the workers take on?"""

import re
from contextlib import suppress
from pathlib import Path

from app import place
from app.doctor.finding import Findings, ok, warning
from app.doctor.nginx import Site
from app.doctor.running import Running
from app.once.held import most_held

# A delivery that waits takes a file. Fewer than these, and a process holds no more than some thousand of them.
_FILES_A_PROCESS = 4096
_CGROUP = Path("/sys/fs/cgroup")


def check_limits(running: Running, site: Site | None, handlers_at_once: int) -> Findings:
    """Yield whether there are files, threads and connections for what the workers take on."""
    yield from _check_files(running.files)
    workers = len(running.workers)
    tasks, needed = _most_tasks(running.workers), workers * handlers_at_once
    if tasks and tasks < needed:
        found = f"the unit may have {tasks} threads, and {workers} processes may run {needed} handlers at once"
        todo = f"{place.unit_option('TasksMax=infinity')}, or a smaller WECHAT_HANDLERS_AT_ONCE; then {place.restart()}"
        yield warning("uWSGI limits", found, todo)
    if site and site.locations and running.files:
        yield from _check_connections(site, workers * most_held(running.files))


def _check_files(files: int) -> Findings:
    if files and files < _FILES_A_PROCESS:
        found = f"a process may open {files} files, and holds {most_held(files)} waiting deliveries at most"
        option = place.unit_option("LimitNOFILE=16384")
        yield warning("uWSGI limits", found, f"{option}, and max-fd in {place.size_file()}; then {place.restart()}")


def _check_connections(site: Site, held: int) -> Findings:
    held = min(held, site.most_at_once or held)
    if site.connections < 2 * held:
        found = f"nginx takes {site.connections} connections; {held} deliveries can be held, which take two each"
        todo = (
            "worker_connections 40960 and worker_rlimit_nofile 65536, as in nginx/nginx.conf, or a smaller limit_conn"
        )
        yield warning("nginx connections", found, todo)
    else:
        yield ok("nginx connections", f"{site.connections} for {held} held deliveries of two each")


def _most_tasks(workers: list[int]) -> int:
    """Return how many threads the unit may have, 0 where that is not limited or not known."""
    for pid in workers[:1]:
        with suppress(OSError, ValueError):
            found = re.search(r"^0::(/.*)$", Path(f"/proc/{pid}/cgroup").read_text(), re.MULTILINE)
            return int((_CGROUP / found[1].lstrip("/") / "pids.max").read_text()) if found else 0
    return 0
