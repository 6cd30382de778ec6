"""uWSGI: is it there, who can reach its socket, and do its limits fit?"""

import grp
import os
import pwd
import re
from contextlib import suppress
from pathlib import Path
from stat import S_ISSOCK
from typing import Any

from app import place
from app.doctor.cache import NEARLY_FULL
from app.doctor.finding import Finding, Findings, ok, warning, wrong
from app.doctor.limits import check_limits
from app.doctor.nginx import Site
from app.doctor.running import Running, ask, cache_fills, in_hand

INI_FILE = Path(__file__).parents[2] / "uwsgi_wechat.ini"
ACCOUNT_FILES = Path("/etc/wechat")
"""Where the installer keeps each account's own size, which wins: shop.ini."""
_LARGER = "larger cache2 of another name (docs/deploy.md), or Redis"


def run_folder(site: Site | None) -> Path:
    """Return where the socket and the figures are: uWSGI or nginx says it, else systemd's folder, or run/."""
    if own := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # asked in the console: the ini has set it
        return Path(own).parent
    for path in site.sockets if site else []:
        return path.parent
    return Path(os.environ.get("RUNTIME_DIRECTORY") or INI_FILE.parent / "run")


def check_uwsgi(
    folder: Path,
    site: Site | None,
    handlers_at_once: int,
    *,
    ini: Path = INI_FILE,
    accounts: Path = ACCOUNT_FILES,
) -> Findings:
    """Yield how the uWSGI is whose socket and figures are in ``folder``."""
    yield from _check_ini(ini, accounts / f"{folder.name}.ini")
    stats = folder / "stats.sock"
    try:
        running = ask(stats)
    except (OSError, ValueError, KeyError) as error:
        yield _silent(stats, error)
        return
    yield from _check_running(running, in_hand(folder / "metrics"), cache_fills(folder / "metrics"))
    yield from check_limits(running, site, handlers_at_once)
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


def _silent(stats: Path, error: Exception) -> Finding:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError) and place.installed_account():
        return wrong("uWSGI", f"it does not run: {stats} is not answered", place.status())
    found = f"{stats} does not answer ({type(error).__name__}): it does not run, or this user may not ask"
    return warning("uWSGI", found, f"start it: {place.status()}; else ask again as root")


def _check_running(running: Running, now: str, fills: dict[str, float]) -> Findings:
    said = running.said
    workers = [worker for worker in said["workers"] if worker["status"] != "cheap" and worker["pid"]]
    without = [str(worker["id"]) for worker in workers if not worker["apps"]]
    if without or not workers:
        found = f"uWSGI {said['version']} runs without the application in worker {', '.join(without) or '1'}"
        yield wrong("uWSGI", found, f"its log says why; {place.command('wechat handlers')} shows it, too")
    else:
        found = f"{said['version']}, {len(workers)} processes, {running.threads} threads"
        yield ok("uWSGI", f"{found}; {now}" if now else found)
    if said["listen_queue"] or said["listen_queue_errors"]:
        found = f"{said['listen_queue']} requests wait for a thread, {said['listen_queue_errors']} found no room"
        todo = "more processes; handlers that compute for less time"
        yield warning("uWSGI queue", found, todo)
    yield from _check_caches(said.get("caches", []), fills)


def _check_caches(caches: list[dict[str, Any]], fills: dict[str, float]) -> Findings:
    """Yield how full each is, by its items, and what the service has measured (``fills``), by what they hold, too."""
    for cache in caches:
        name, items, most = cache["name"], cache["items"], cache["max_items"]
        lost = "sessions may have been lost" if name.endswith("-fans") else "messages may have been handled twice"
        if cache["full"]:
            yield warning("uWSGI cache", f"the cache {name} was full {cache['full']} times: {lost}", _LARGER)
        elif items >= NEARLY_FULL * most:
            yield warning("uWSGI cache", f"{name}: {items} of {most} items", _LARGER)
        else:
            yield ok("uWSGI cache", f"{name}: {items} of {most} items")
    for room, fill in fills.items():
        if fill >= NEARLY_FULL:
            yield warning("uWSGI cache", f"the room of {room} was {fill:.0%} full when it was measured last", _LARGER)


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
