"""nginx: is the callback there, and do its limits fit what WeChat and uWSGI do?"""

import os
import re
from contextlib import suppress
from ipaddress import ip_network
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from app import place
from app.api.callers import Network
from app.doctor.finding import Findings, ok, warning, wrong
from app.doctor.nginx_files import Block, Directive, read_files, seconds, size_bytes

NGINX_FILE = Path("/etc/nginx/nginx.conf")
_WECHAT_SECONDS = 5
_MESSAGE_BYTES = 64 * 1024
# What a service may open on Linux where nothing else is said.
_USUAL_FILES = "1024"
_RELOAD = "then: sudo nginx -t && sudo systemctl reload nginx"


class Location(NamedTuple):
    """Where nginx passes the callback on: the blocks around it, the outermost first, and to whom."""

    scopes: tuple[Block, ...]
    protocol: str
    target: str

    def get(self, name: str, default: str) -> str:
        """Return what ``name`` is set to here or, by inheritance, around here."""
        found = (block.get(name) for block in reversed(self.scopes))
        return " ".join(next((arguments for arguments in found if arguments is not None), [default]))

    @property
    def rules(self) -> list[Directive]:
        """Who may come, in nginx's order: what stands here or, where nothing does, around here."""
        return next(filter(None, (list(block.all("allow", "deny")) for block in reversed(self.scopes))), [])


class Site(NamedTuple):
    """What nginx's files say of one account."""

    locations: list[Location]
    main: Block
    upstreams: dict[str, list[str]]
    is_older: bool = False  # its path is where a map leads from /wechat8011 or the like: docs/accounts.md

    @property
    def machines(self) -> int:
        """To how many servers its messages are passed."""
        return max((len(self._servers(one)) for one in self.locations), default=1)

    @property
    def sockets(self) -> list[Path]:
        """The unix sockets that its messages are passed to."""
        servers = [server for one in self.locations for server in self._servers(one)]
        return sorted({Path(server.removeprefix("unix:")) for server in servers if server.startswith("unix:")})

    @property
    def user(self) -> str:
        """The user that nginx's workers are."""
        return (self.main.get("user") or ["nobody"])[0]

    @property
    def connections_a_worker(self) -> int:
        """How many connections a process of nginx takes at once."""
        events = next(self.main.all("events"), Directive("", [])).inside or Block()
        return int((events.get("worker_connections") or ["512"])[0])

    @property
    def connections(self) -> int:
        """How many connections nginx takes at once."""
        workers = (self.main.get("worker_processes") or ["1"])[0]
        return self.connections_a_worker * (len(os.sched_getaffinity(0)) if workers == "auto" else int(workers))

    @property
    def most_at_once(self) -> int:
        """How many requests at once nginx passes on of an account, 0 where it has no limit_conn."""
        found = [one.get("limit_conn", "").split()[-1:] for one in self.locations]
        return min((int(number) for [number] in filter(None, found)), default=0)

    @property
    def allowed(self) -> list[Network] | None:
        """Who may call the callback; None where everybody may."""
        for rules in (one.rules for one in self.locations):
            before = list(takewhile(lambda rule: rule.arguments != ["all"], rules))
            if [rule.name for rule in rules[len(before) :][:1]] == ["deny"]:
                named = [rule.arguments[0] for rule in before if rule.name == "allow" and rule.arguments != ["unix:"]]
                return [ip_network(name, strict=False) for name in named]
        return None

    def _servers(self, location: Location) -> list[str]:
        return self.upstreams.get(location.target, [location.target])


def read_site(file: Path, path: str) -> Site:
    """Return what nginx's files, from ``file`` on, say of the callback at ``path``. Raises OSError, ValueError."""
    main = read_files(file)
    locations, upstreams, is_older = [], {}, False
    for http in main.all("http"):
        inside = http.inside or Block()
        is_older |= any(_leads_to(path, one) for one in inside.all("map"))
        for upstream in inside.all("upstream"):
            servers = (upstream.inside or Block()).all("server")
            upstreams[upstream.arguments[0]] = [one.arguments[0] for one in servers if "down" not in one.arguments]
        for server in inside.all("server"):
            block = server.inside or Block()
            if location := _passing((main, inside, block), path):
                locations.append(location)
    return Site(locations, main, upstreams, is_older)


def _leads_to(path: str, one: Directive) -> bool:
    """Tell whether this map is the one of the older layout, and has a row that leads to ``path``."""
    ends = [row.arguments[0] for row in one.inside or () if row.arguments]
    return one.arguments[-1:] == ["$wechat_older"] and path in [f"/{end.partition('/')[2]}" for end in ends]


def _passing(scopes: tuple[Block, ...], path: str) -> Location | None:
    """Return the location that nginx takes for ``path``, where it passes requests on."""
    # By whether it comes before any prefix, and in what order among its like.
    candidates: dict[bool, list[tuple[int, Block]]] = {True: [], False: []}
    for location in scopes[-1].all("location"):
        *marks, wanted = location.arguments
        inside = location.inside or Block()
        mark = marks[0] if marks else ""
        if mark == "=" and wanted == path:
            candidates[True].append((2, inside))
        elif mark.startswith("~") and _matches(wanted, path, mark):
            candidates[True].append((1, inside))
        elif mark in ("", "^~") and path.startswith(wanted):
            candidates[False].append((len(wanted), inside))
    chosen = candidates[True] or candidates[False]
    if not chosen:
        return None
    block = max(chosen, key=lambda candidate: candidate[0])[1]
    for protocol in ("uwsgi", "proxy"):
        if target := block.get(f"{protocol}_pass"):
            return Location((*scopes, block), protocol, _host(target[0]))
    return None


def _matches(pattern: str, path: str, mark: str) -> bool:
    with suppress(re.error):  # what Python's expressions do not know
        flags = re.IGNORECASE if mark == "~*" else 0
        return bool(re.search(re.sub(r"\(\?<(?=\w)", "(?P<", pattern), path, flags))
    return False


def _host(target: str) -> str:
    return urlsplit(target).netloc if "://" in target else target


def check_nginx(site: Site, file: Path, path: str) -> Findings:
    """Yield what nginx does with the callback, and what of that cannot go well."""
    if not site.locations and site.is_older:
        found = f"{path} is the service's: nginx passes /wechat8011 or the like on to it (docs/accounts.md)"
        todo = f"{place.command('wechat doctor')} --url http://YOUR-ADDRESS/wechat8011, with its own port"
        yield warning("nginx", found, todo)
        return
    if not site.locations:
        found = f"no location of {file} passes {path} to uWSGI"
        yield wrong("nginx", found, f"make one from nginx/account.conf; {_RELOAD}")
        return
    files = int((site.main.get("worker_rlimit_nofile") or [_USUAL_FILES])[0])
    if files < site.connections_a_worker:
        found = f"a worker may open {files} files, and takes {site.connections_a_worker} connections"
        yield warning("nginx connections", found, f"worker_rlimit_nofile {2 * site.connections_a_worker}; {_RELOAD}")
    for location in site.locations:
        yield ok("nginx", f"{path} is passed to {location.target}")
        yield from _limits(location)
        name = f"{location.protocol}_next_upstream"
        if "non_idempotent" in location.get(name, ""):
            found = f"{name} non_idempotent: nginx delivers a message again on its own, and its handler runs twice"
            yield wrong("nginx repeats", found, f"take it away: WeChat delivers again itself; {_RELOAD}")


def _limits(location: Location) -> Findings:
    name = f"{location.protocol}_read_timeout"
    wait = seconds(location.get(name, "60s"))
    if wait <= _WECHAT_SECONDS:
        found = f"{name} is {wait:g} s: nginx answers 504 before the {_WECHAT_SECONDS} s that WeChat waits are over"
        yield wrong("nginx time-out", found, f"{name} 65s; {_RELOAD}")
    else:
        yield ok("nginx time-out", f"{name} is {wait:g} s; WeChat hangs up after {_WECHAT_SECONDS}")
    most = size_bytes(location.get("client_max_body_size", "1m"))
    if 0 < most < _MESSAGE_BYTES:
        found = f"client_max_body_size is {most} bytes: a long message is refused with 413"
        yield wrong("nginx body size", found, f"client_max_body_size 64k; {_RELOAD}")
    else:
        yield ok("nginx body size", f"{most >> 10} KB" if most else "without a limit; the service takes 64 KB")
