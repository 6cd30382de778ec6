"""Measure what one message costs: CPU, Redis, bytes. The service is as shipped, behind nginx, with Redis.

Usage: python -m tests.bench.cost [--messages N]
"""

import argparse
import json
import os
import re
import socket
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from redis import Redis

from app.callback.seal import Seal
from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.cache_servers import redis_server
from tests.faults.fans import ask_evenly
from tests.load.site import site
from tests.load.wechat import Result, WeChat
from tests.servers import AES_KEY, APPID, TOKEN, environment, wait_for

PER_SECOND = 150
# Not "mget", by which a process looks for all that it waits for: ten times a second, however many messages that are.
_COMMANDS = ("set", "get", "del")
_SEVERAL = 20

_ROWS = {
    "uwsgi_seconds": ("uWSGI, CPU µs", 1e6),
    "nginx_seconds": ("nginx, CPU µs", 1e6),
    "redis_seconds": ("Redis, CPU µs", 1e6),
    "redis_in_bytes": ("bytes to Redis", 1),
    "redis_out_bytes": ("bytes from Redis", 1),
    "log_bytes": ("bytes of the log", 1),
    "access_log_bytes": ("bytes of nginx's log", 1),
}
_ACCOUNT = {"WECHAT_APPID": APPID, "WECHAT_APPSECRET": "5ecret5ecret5ecret5ecret5ecret00"}
_ACCOUNT["WECHAT_API_BASE_URL"] = "http://127.0.0.1:9"  # nothing of it is called


class Case(NamedTuple):
    """A kind of message: what the fan says, and of how many messages the cost is measured."""

    name: str
    says: str
    encrypt_mode: str = "normal"
    share: float = 1.0


CASES = [
    Case("plain text", "quick"),
    Case("with a session", "count"),
    Case("safe mode", "quick", "safe"),
    Case("11 s, three deliveries", "slow 11", share=0.2),
]


class Reading(NamedTuple):
    """What had been used up to now: seconds of CPU, commands, bytes."""

    uwsgi_seconds: float
    nginx_seconds: float
    redis_seconds: float
    redis_in_bytes: int
    redis_out_bytes: int
    log_bytes: int
    access_log_bytes: int


class Cost(NamedTuple):
    """What one message takes, on average: microseconds, commands and bytes.

    ``kinds`` says of each kind of item in Redis: how many a message, of how many bytes, for how many seconds.
    """

    used: dict[str, float]
    commands: dict[str, float]
    kinds: dict[str, tuple[float, int, int]]
    request_bytes: int
    answer_bytes: int

    @property
    def kept_bytes(self) -> float:
        return sum(count * size for count, size, _ in self.kinds.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000)
    options = parser.parse_args()
    print("|", " | ".join(("one message", *(case.name for case in CASES))), "|")
    print("|---" + "|---:" * len(CASES) + "|")
    costs = [measure(case, int(options.messages * case.share)) for case in CASES]
    for name in Reading._fields:
        row, factor = _ROWS[name]
        print(f"| {row} |", " | ".join(f"{cost.used[name] * factor:,.0f}" for cost in costs), "|")
    print("| commands of Redis |", " | ".join(commands_cell(cost) for cost in costs), "|")
    print("| items in Redis |", " | ".join(_items_cell(cost) for cost in costs), "|")
    print("| bytes of these items |", " | ".join(f"{cost.kept_bytes:,.0f}" for cost in costs), "|")
    print("| bytes from WeChat, a delivery |", " | ".join(f"{cost.request_bytes:,}" for cost in costs), "|")
    print("| bytes of the answer |", " | ".join(f"{cost.answer_bytes:,}" for cost in costs), "|")


def measure(case: Case, messages: int, *, processes: int = 2) -> Cost:
    """Let ``messages`` fans say it, each once, and return what one of them cost."""
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as server:
        folder, client = Path(name), Redis(port=server.port, decode_responses=True)
        sealed = {"WECHAT_ENCODING_AES_KEY": AES_KEY, "WECHAT_ENCRYPT_MODE": case.encrypt_mode}
        settings = _ACCOUNT | (sealed if case.encrypt_mode != "normal" else {})
        settings |= {"WECHAT_CACHE_URL": f"redis://127.0.0.1:{server.port}"}
        env = environment(WECHAT_HANDLERS="tests.bench.cost_handlers", **settings)
        changes = {"processes = 2": f"processes = {processes}"}
        with client, site(folder, env, replacements=changes) as service:
            # Until every process has connected, and the threads, which uWSGI starts all at once, have come to rest.
            wait_for(lambda: not _wrong(service.url, case._replace(says="quick"), _SEVERAL), 60, "right answers")
            request_bytes, answer_bytes = _exchange(service.url, case)
            pids = service.uwsgi.process.pid, int((folder / "nginx.pid").read_text())
            client.flushdb()
            wait_for(lambda: len(_beats(client)) == processes and client.keys("*:process:all"), what="all processes")
            before, commands_before = _reading(client, folder, *pids), commands(client)
            if wrong := _wrong(service.url, case, messages):
                raise RuntimeError(f"{len(wrong)} of {messages} were not answered: {wrong[0]}")
            wait_for(lambda: not client.keys("*:ward"), what="the end of what is said of slow messages, once a second")
            after, called = _reading(client, folder, *pids), commands(client)
            kinds = _kinds(client, messages)
    used = {name: (late - soon) / messages for name, soon, late in zip(Reading._fields, before, after, strict=True)}
    each = {name: (called[name] - commands_before[name]) / messages for name in _COMMANDS}
    return Cost(used, {name: count for name, count in each.items() if count}, kinds, request_bytes, answer_bytes)


def commands(client: Redis) -> Counter[str]:
    """Return how often each command was called so far, but for those by which processes say that they live."""
    beats = _beats(client)
    with client.pipeline(transaction=True) as both:
        both.info("commandstats")
        both.mget(beats or ["none"])
        stats, told = both.execute()
    called = Counter({name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()})
    called.subtract({"set": sum(json.loads(beat)[0] for beat in told if beat)})
    return called


def _beats(client: Redis) -> list[str]:
    return [key for key in client.scan_iter("*:process:*", count=10_000) if re.fullmatch(r".*:[0-9a-f]{12}", str(key))]


def _wrong(url: str, case: Case, messages: int) -> list[Result]:
    """Let so many fans say it, and return what came of those who were not answered."""
    with WeChat([url], case.encrypt_mode) as wechat:
        asked = list(ask_evenly(wechat, [case.says] * messages, PER_SECOND))
        return [one.result for one in asked if one.openid not in one.result.shown]


def _exchange(url: str, case: Case) -> tuple[int, int]:
    """Send one message as WeChat does, and return how many bytes went there and came back, without TCP's own."""
    where, openid = urlsplit(url), "oFanOfTheCost000000000000000"
    seal = Seal(AES_KEY, APPID) if case.encrypt_mode != "normal" else None
    query, body = Phone(url, TOKEN, openid, case.encrypt_mode, seal).envelope(text_message(openid, f"quick {openid}"))
    head = [f"POST {where.path}?{urlencode(query)} HTTP/1.1", f"Host: {where.netloc}", "User-Agent: Mozilla/4.0"]
    head += ["Accept: */*", "Connection: close", "Pragma: no-cache", "Content-Type: text/xml"]
    request = "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body
    with socket.create_connection((where.hostname or "", where.port or 80)) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"answered with {answer[:100]!r}")
    return len(request), len(answer)


def _reading(client: Redis, folder: Path, uwsgi_pid: int, nginx_pid: int) -> Reading:
    redis: dict[str, Any] = client.info()
    return Reading(
        _cpu_seconds(uwsgi_pid),
        _cpu_seconds(nginx_pid),
        redis["used_cpu_user"] + redis["used_cpu_sys"],
        redis["total_net_input_bytes"],
        redis["total_net_output_bytes"],
        (folder / "uwsgi.log").stat().st_size,
        (folder / "access.log").stat().st_size,
    )


def _cpu_seconds(pid: int) -> float:
    """Return what a process and its children have used, user and system."""
    family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    stats = [Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split() for member in family]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def _kinds(client: Redis, messages: int) -> dict[str, tuple[float, int, int]]:
    found = defaultdict(list)
    for key in client.scan_iter(count=10_000):
        kind = str(key).split(":")[1]
        if kind != "process":
            found[kind].append((client.memory_usage(key) or 0, client.ttl(key)))
    return {
        kind: (len(items) / messages, round(sum(size for size, _ in items) / len(items)), max(ttl for _, ttl in items))
        for kind, items in sorted(found.items())
    }


def commands_cell(cost: Cost) -> str:
    """Return how many of each command a message takes, as the table shows it."""
    whole = {name: round(count) for name, count in cost.commands.items()}  # the rest is of the process, once a second
    return ", ".join(f"{count} {name.upper()}" for name, count in whole.items() if count)


def _items_cell(cost: Cost) -> str:
    return "; ".join(f"{count:.3g} {kind} of {size} B for {ttl:,} s" for kind, (count, size, ttl) in cost.kinds.items())


if __name__ == "__main__":
    main()
