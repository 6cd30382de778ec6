"""Measure the callback and its neighbours: one uWSGI worker on one core, wrk on the other.

Usage: python -m tests.bench.bench [--seconds S] [--rounds N]
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from app.callback import xml
from app.callback.seal import Seal
from app.callback.signature import sign
from tests.servers import AES_KEY, APPID, TOKEN, environment, free_port, program, uwsgi

CONNECTIONS = 16
REQUESTS_PER_SECOND = 60_000  # more than any of them answers
SERVER_CORE, CLIENT_CORE = "0", "1"


class Contender(NamedTuple):
    name: str
    module: str
    encrypt_mode: str
    target: float | None = None
    echoes: bool = True


CONTENDERS = [
    Contender("bare WSGI function", "tests.bench.contenders:bare_wsgi", "normal", echoes=False),
    Contender("bare Flask route", "tests.bench.contenders:bare_flask", "normal", echoes=False),
    Contender("this callback, plain", "runserver:application", "normal", 0.60),
    Contender("this callback, safe", "runserver:application", "safe", 0.47),
    Contender("WeRoBot, plain", "tests.bench.contenders:werobot", "normal"),
    Contender("WeRoBot, safe", "tests.bench.contenders:werobot", "safe"),
]


class Result(NamedTuple):
    requests_per_second: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="contenders whose name has this in it")
    options = parser.parse_args()
    contenders = [contender for contender in CONTENDERS if (options.only or "") in contender.name]
    results: dict[str, list[Result]] = {contender.name: [] for contender in contenders}
    for _ in range(options.rounds):
        for contender in contenders:
            results[contender.name].append(measure(contender, options.seconds))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print_table(contenders, results, options)


def print_table(contenders: list[Contender], results: dict[str, list[Result]], options: argparse.Namespace) -> None:
    print(f"median of {options.rounds} rounds of {options.seconds} s; {CONNECTIONS} connections; every reply checked")
    print(f"{'':24}{'requests/s':>12}{'p99 ms':>10}{'ratio':>8}{'to reach':>10}")
    for contender in contenders:
        rounds = results[contender.name]
        # The ratio is taken within each round, so that a machine that slows down slows both.
        bare = results.get("bare Flask route", rounds)
        ratio = statistics.median(ours[0] / others[0] for ours, others in zip(rounds, bare, strict=True))
        rate = statistics.median(result.requests_per_second for result in rounds)
        p99_ms = statistics.median(result.p99_ms for result in rounds)
        target = f"{contender.target:.2f}" if contender.target else ""
        print(f"{contender.name:24}{rate:12,.0f}{p99_ms:10.1f}{ratio:8.2f}{target:>10}")


def measure(contender: Contender, seconds: int) -> Result:
    """Run one contender for ``seconds`` and check every reply; raises RuntimeError for a wrong one."""
    sealed = {"WECHAT_APPID": APPID, "WECHAT_ENCODING_AES_KEY": AES_KEY} if contender.encrypt_mode == "safe" else {}
    settings = {"WECHAT_ENCRYPT_MODE": contender.encrypt_mode, "WECHAT_HANDLERS": "tests.bench.contenders"} | sealed
    replacements = {"module = runserver:application": f"module = {contender.module}", "processes = 2": "processes = 1"}
    # uWSGI closes after each answer and does not say so; wrk would count a read error for each.
    replacements["master = true"] = "master = true\nadd-header = Connection: close"
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        requests, replies = folder / "requests", folder / "replies"
        count = seconds * REQUESTS_PER_SECOND
        requests.write_bytes(b"".join(_request(contender.encrypt_mode, number, port) for number in range(count)))
        prefix = ("taskset", "-c", SERVER_CORE)
        with uwsgi(folder, environment(**settings), port=port, prefix=prefix, replacements=replacements):
            output = _wrk(port, seconds, {"REQUESTS": str(requests), "REPLIES": str(replies)})
        _check(contender, replies.read_bytes())
    rate = float(_found(r"Requests/sec:\s+([\d.]+)", output)[1])
    p99 = _found(r"99%\s+([\d.]+)(us|ms|s)", output)
    return Result(rate, float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]])


def _request(encrypt_mode: str, number: int, port: int) -> bytes:
    timestamp, nonce, openid = str(int(time.time())), str(number + 10**8), f"oBenchmarkFan{number % 1000:015}"
    body = (
        f"<xml><ToUserName><![CDATA[gh_7f083739789a]]></ToUserName>\n<FromUserName><![CDATA[{openid}]]></FromUserName>\n"
        f"<CreateTime>{timestamp}</CreateTime>\n<MsgType><![CDATA[text]]></MsgType>\n"
        f"<Content><![CDATA[你好，{number}]]></Content>\n<MsgId>{number + 10**16}</MsgId>\n</xml>"
    )
    query = f"signature={sign(TOKEN, timestamp, nonce)}&timestamp={timestamp}&nonce={nonce}&openid={openid}"
    if encrypt_mode == "safe":
        encrypt = Seal(AES_KEY, APPID).seal(body.encode())
        query += f"&encrypt_type=aes&msg_signature={sign(TOKEN, timestamp, nonce, encrypt)}"
        body = f"<xml><ToUserName>gh_7f083739789a</ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>"
    data = body.encode()
    head = [f"POST /wechat?{query} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(data)}", "", ""]
    request = "\r\n".join(head).encode() + data
    return f"{len(request)}\n".encode() + request


def _wrk(port: int, seconds: int, env: dict[str, str]) -> str:
    command = ["taskset", "-c", CLIENT_CORE, program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    command += ["-s", str(Path(__file__).parent / "wrk.lua"), f"http://127.0.0.1:{port}/wechat"]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode or "Socket errors" in done.stdout or "Non-2xx" in done.stdout:
        raise RuntimeError(f"wrk: {done.stdout} {done.stderr}")
    return done.stdout


def _check(contender: Contender, replies: bytes) -> None:
    seal, seen, position = Seal(AES_KEY, APPID), set(), 0
    while position < len(replies):
        end = replies.index(b"\n", position)
        status, size = replies[position:end].split()
        body = replies[end + 1 : end + 1 + int(size)]
        position = end + 1 + int(size)
        if status != b"200":
            raise RuntimeError(f"{contender.name} answered with status {status!r}")
        if not contender.echoes:
            continue
        fields = xml.read_strictly(body)
        if contender.encrypt_mode == "safe":
            fields = xml.read_strictly(seal.unseal(fields["Encrypt"]))
        if fields["Content"] in seen or not fields["Content"].startswith("你好，"):
            raise RuntimeError(f"{contender.name} answered with {fields['Content']!r}")
        seen.add(fields["Content"])
    if not position:
        raise RuntimeError(f"{contender.name} answered nothing")


def _found(pattern: str, text: str) -> re.Match[str]:
    found = re.search(pattern, text)
    if not found:
        raise RuntimeError(f"wrk printed no {pattern!r}: {text}")
    return found


if __name__ == "__main__":
    main()
