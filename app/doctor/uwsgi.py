"""uWSGI: is it there, who can reach its socket, and do its limits fit?"""

import grp
import json
import os
import pwd
import re
import socket
from contextlib import suppress
from pathlib import Path
from stat import S_ISSOCK
from typing import Any, NamedTuple

from app import place
from app.doctor.finding import Finding, Findings, ok, warning, wrong
from app.doctor.nginx import Site

INI_FILE = Path(__file__).parents[2] / "uwsgi_wechat.ini"
ACCOUNT_FILES = Path("/etc/wechat")
"""Where the installer keeps each account's own size, which wins: shop.ini."""
_TIMEOUT_SECONDS = 3.0
# Besides a thread's own and its connection's: modules, the log, the database, Redis.
_FILES_BESIDE = 200
_CGROUP = Path("/sys/fs/cgroup")


class Running(NamedTuple):
    """What a uWSGI that runs says of itself, and how many threads take requests in all and in one process."""

    said: dict[str, Any]
    threads: int
    threads_a_process: int


def run_folder(site: Site | None) -> Path:
    """Return where the socket and the figures are: uWSGI or nginx says it, else systemd's folder, or run/."""
    if own := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # asked in the console: the ini has set it
        return Path(own).parent
    for path in site.sockets if site else []:
        return path.parent
    return Path(os.environ.get("RUNTIME_DIRECTORY") or INI_FILE.parent / "run")


def check_uwsgi(folder: Path, site: Site | None, ini: Path = INI_FILE, accounts: Path = ACCOUNT_FILES) -> Findings:
    """Yield how the uWSGI is whose socket and figures are in ``folder``."""
    yield from _check_ini(ini, accounts / f"{folder.name}.ini")
    stats = folder / "stats.sock"
    try:
        running = _running(stats)
    except (OSError, ValueError, KeyError) as error:
        yield _silent(stats, error)
        return
    yield from _check_running(running)
    yield from _check_limits(running, site)
    yield from _check_socket([one["name"] for one in running.said["sockets"]], site)


def _check_ini(ini: Path, of_account: Path) -> Findings:
    try:
        text = ini.read_text() + (of_account.read_text() if of_account.exists() else "")
    except OSError as error:
        yield warning("uwsgi.ini", f"{error.filename} cannot be read ({error.strerror})", "ask again as root")
        return
    options = dict(re.findall(r"^[ \t]*([\w-]+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))
    problems = []
    if "harakiri" in options:
        found = "harakiri kills all conversations of a worker, and is no deadline: any later request resets it"
        problems.append(wrong("uwsgi.ini", found, f"remove it; then {place.restart()}"))
    if "touch-chain-reload" not in options or "lazy-apps" not in options:
        found = "without touch-chain-reload and lazy-apps a new version is a restart, which forgets what was answered"
        problems.append(warning("uwsgi.ini", found, f"take both from the shipped {ini.name}; then {place.restart()}"))
    listen, most = (
        int(re.sub(r"\D.*", "", options.get("listen", "")) or "100"),
        int(Path("/proc/sys/net/core/somaxconn").read_text()),
    )
    if listen > most:
        found = f"listen = {listen} is more than net.core.somaxconn = {most}: uWSGI does not start"
        problems.append(wrong("uwsgi.ini", found, f"sysctl net.core.somaxconn={listen}, or a smaller listen"))
    yield from problems or [ok("uwsgi.ini", f"no harakiri, a chain reload, listen = {listen} of {most}")]


def _running(stats: Path) -> Running:
    with socket.socket(socket.AF_UNIX) as asked, asked.makefile("rb") as answer:
        asked.settimeout(_TIMEOUT_SECONDS)
        asked.connect(str(stats))
        said: dict[str, Any] = json.load(answer)
    threads = [_tasks(worker["pid"]) for worker in said["workers"] if worker["pid"]]
    return Running(said, sum(threads), max(threads, default=0))


def _silent(stats: Path, error: Exception) -> Finding:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError) and place.installed_account():
        return wrong("uWSGI", f"it does not run: {stats} is not answered", place.status())
    found = f"{stats} does not answer ({type(error).__name__}): it does not run, or this user may not ask"
    return warning("uWSGI", found, f"start it: {place.status()}; else ask again as root")


def _tasks(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task"))
    return 0


def _check_running(running: Running) -> Findings:
    said = running.said
    workers = [worker for worker in said["workers"] if worker["status"] != "cheap" and worker["pid"]]
    without = [str(worker["id"]) for worker in workers if not worker["apps"]]
    if without or not workers:
        found = f"uWSGI {said['version']} runs without the application in worker {', '.join(without) or '1'}"
        yield wrong("uWSGI", found, f"its log says why; {place.command('wechat handlers')} shows it, too")
    else:
        yield ok("uWSGI", f"{said['version']}, {len(workers)} processes, {running.threads} threads")
    if said["listen_queue"] or said["listen_queue_errors"]:
        found = f"{said['listen_queue']} requests wait for a thread, {said['listen_queue_errors']} found no room"
        yield warning("uWSGI queue", found, "more threads, or faster handlers")
    for cache in said.get("caches", []):
        if cache["full"]:
            found = f"the cache {cache['name']} was full {cache['full']} times: messages may have been handled twice"
            yield warning("uWSGI cache", found, "a larger cache2 of another name (docs/deploy.md), or Redis")
        else:
            yield ok("uWSGI cache", f"{cache['name']}: {cache['items']} of {cache['max_items']} items")


def _check_limits(running: Running, site: Site | None) -> Findings:
    pid = next((worker["pid"] for worker in running.said["workers"] if worker["pid"]), running.said["pid"])
    files, needed = _open_files(pid), 2 * running.threads_a_process + _FILES_BESIDE
    if files and files < needed:
        found = f"a process may open {files} files, and {running.threads_a_process} threads want {needed}"
        option = place.unit_option(f"LimitNOFILE={needed}")
        yield warning("uWSGI limits", found, f"{option}, and max-fd in {place.size_file()}; then {place.restart()}")
    tasks = _most_tasks(pid)
    if tasks and tasks < 2 * running.threads:
        found = f"the unit may have {tasks} threads, and {running.threads} are there before any handler makes one"
        yield warning("uWSGI limits", found, f"{place.unit_option('TasksMax=infinity')}; then {place.restart()}")
    if site and site.locations and site.connections < 2 * running.threads:
        found = f"nginx takes {site.connections} connections; {running.threads} conversations take two each"
        todo = "worker_connections 40960 and worker_rlimit_nofile 65536, as in nginx/nginx.conf"
        yield warning("nginx connections", found, todo)
    elif site and site.locations:
        yield ok("nginx connections", f"{site.connections} for {running.threads} conversations of two each")


def _open_files(pid: int) -> int:
    with suppress(OSError):
        found = re.search(r"Max open files +(\d+)", Path(f"/proc/{pid}/limits").read_text())
        return int(found[1]) if found else 0
    return 0


def _most_tasks(pid: int) -> int:
    """Return how many threads the unit may have, 0 where that is not limited or not known."""
    with suppress(OSError, ValueError):
        found = re.search(r"^0::(/.*)$", Path(f"/proc/{pid}/cgroup").read_text(), re.MULTILINE)
        return int((_CGROUP / found[1].lstrip("/") / "pids.max").read_text()) if found else 0
    return 0


def _check_socket(names: list[str], site: Site | None) -> Findings:
    """Yield whether nginx, and nobody else, may write to the socket; ``names`` is what uWSGI listens on."""
    path = next((Path(name) for name in names if name.startswith("/")), None)
    path = next(iter(site.sockets), path) if site else path
    if path is None:
        yield ok("socket", f"none: uWSGI listens on {', '.join(names)}")
        return
    try:
        status = path.stat()
    except OSError as error:
        yield wrong("socket", f"{path}: {error.strerror}", f"uWSGI makes it when it starts; then {place.restart()}")
        return
    if not S_ISSOCK(status.st_mode):
        yield wrong("socket", f"{path} is no socket", f"remove it; then {place.restart()}")
    elif status.st_mode & 0o002:
        found = f"{path} can be written to by everybody on this machine, who can do more than send requests"
        yield wrong("socket", found, f"chmod-socket = 660 in {place.size_file()}; then {place.restart()}")
    elif site and site.locations:
        yield _reaching(path, site.user)
    else:
        yield ok("socket", f"{path}, for {_owners(status)} alone")


def _reaching(path: Path, user: str) -> Finding:
    """Tell whether nginx's workers get to the socket: into each folder, and to write to it."""
    try:
        groups = set(os.getgrouplist(user, pwd.getpwnam(user).pw_gid))
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        return warning("socket", f"nginx's user {user} is not on this machine", "look at user in nginx.conf")
    steps = [(folder, 0o1) for folder in reversed(path.parents)] + [(path, 0o2)]
    for step, bit in steps:
        status = step.stat()
        shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
        if uid and not status.st_mode >> shift & bit:
            found = f"nginx's user {user} may not use {step}, which is for {_owners(status)}: nginx answers 502"
            group = _name(grp.getgrgid, status.st_gid)
            return wrong("socket", found, f"sudo usermod -aG {group} {user} && sudo systemctl restart nginx")
    return ok("socket", f"{path}, for {_owners(path.stat())}; nginx's {user} may write to it, and others may not")


def _owners(status: os.stat_result) -> str:
    return f"{_name(pwd.getpwuid, status.st_uid)}:{_name(grp.getgrgid, status.st_gid)}"


def _name(find: Any, number: int) -> str:
    with suppress(KeyError):
        return str(find(number)[0])
    return str(number)
