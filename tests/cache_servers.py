"""Real Redis, Sentinel and memcached on free ports of 127.0.0.1, started and ended by the tests."""

import logging
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis

from app.cache import Cache, connect
from tests.servers import APPID, Server, free_port, listens, program, wait_for

PASSWORD = "p@ss:w/o?r#d 密%41"


class CacheServer:
    """A server of its own process, which can be stopped, killed and started again; ``with`` ends it."""

    def __init__(self, command: list[str], folder: Path, port: int, ready: Callable[[], bool] | None = None) -> None:
        self._command = [program(command[0]), *command[1:]]
        self._folder = folder
        self.port = port
        self._ready = ready or partial(listens, port)
        self.start()

    def __enter__(self) -> "CacheServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # there is nothing to save, and one that stands still would hear no other signal

    def start(self) -> None:
        self._server = Server(self._command, self._folder, os.environ)
        try:
            self._server.wait_until(self._ready)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        self._server.process.kill()
        self._server.process.wait()

    def stand_still(self) -> None:
        self._server.process.send_signal(signal.SIGSTOP)
        os.waitpid(self._server.process.pid, os.WUNTRACED)  # until the last of its threads stands

    def go_on(self) -> None:
        self._server.process.send_signal(signal.SIGCONT)


def redis_server(folder: Path, *options: str, port: int | None = None) -> CacheServer:
    """Start Redis with ``options``; those given last win."""
    port = free_port() if port is None else port
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    at_once = ["--repl-diskless-sync-delay", "0"]  # to its replica, if it has one
    return CacheServer([*command, *at_once, *options], folder, port)


def memcached_server(folder: Path, *options: str, port: int | None = None) -> CacheServer:
    """Start memcached with ``options``."""
    port = free_port() if port is None else port
    me = pwd.getpwuid(os.geteuid()).pw_name  # root must say that it means it
    return CacheServer(["memcached", "-u", me, "-l", "127.0.0.1", "-p", str(port), *options], folder, port)


def sentinel_server(folder: Path, master_port: int, *options: str) -> CacheServer:
    """Start a sentinel that finds a dead master after half a second and needs no other's opinion."""
    port = free_port()
    conf = folder / f"sentinel{port}.conf"  # it writes into it
    conf.write_text(
        f"port {port}\ndir {folder}\nsentinel monitor mymaster 127.0.0.1 {master_port} 1\n"
        "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 2000\n"
    )
    return CacheServer(["redis-server", str(conf), "--sentinel", "--bind", "127.0.0.1", *options], folder, port)


class Watched:
    """A master, its replica and two sentinels; ``url`` names the sentinels. ``with`` ends them all."""

    def __init__(self, folder: Path) -> None:
        with ExitStack() as stack:
            self.master = stack.enter_context(redis_server(folder))
            self.replica = stack.enter_context(redis_server(folder, "--replicaof", f"127.0.0.1 {self.master.port}"))
            with Redis(port=self.master.port) as client:  # sentinels look for replicas when they start, then in 10 s
                wait_for(lambda: client.info("replication")["connected_slaves"], what="the replica")
            self.sentinels = [stack.enter_context(sentinel_server(folder, self.master.port)) for _ in range(2)]
            self._all = stack.pop_all()
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/mymaster"

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self._all.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1, signed by itself, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-days", "2", "-out", str(cert), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@contextmanager
def _memory(folder: Path) -> Iterator[str]:
    yield "memory://"


@contextmanager
def _tcp(folder: Path) -> Iterator[str]:
    with redis_server(folder) as server:
        yield f"redis://127.0.0.1:{server.port}"


@contextmanager
def _unix(folder: Path) -> Iterator[str]:
    path = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with CacheServer(command, folder, 0, path.exists):
        yield f"unix://{path}"


@contextmanager
def _tls(folder: Path) -> Iterator[str]:
    cert, key = certificate(folder)
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key)]
    tls += ["--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no", "--port", "0"]
    with redis_server(folder, *tls, port=port):
        yield f"rediss://127.0.0.1:{port}?ssl_ca_certs={cert}"


@contextmanager
def _password(folder: Path) -> Iterator[str]:
    with redis_server(folder, "--requirepass", PASSWORD) as server:
        yield f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/3"


@contextmanager
def _sentinel(folder: Path) -> Iterator[str]:
    with Watched(folder) as watched:
        yield watched.url


@contextmanager
def _memcached(folder: Path) -> Iterator[str]:
    with memcached_server(folder) as server:
        yield f"memcached://127.0.0.1:{server.port}"


BACKENDS = {
    "memory": _memory,
    "redis": _tcp,
    "redis on a unix socket": _unix,
    "redis with TLS": _tls,
    "redis with a password": _password,
    "redis with Sentinel": _sentinel,
    "memcached": _memcached,
}


class Lines:
    """What the cache has logged in this test."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def _errors(self) -> list[logging.LogRecord]:
        # Not those of threads that other tests have left: they look for their Redis as long as the process lives.
        records = [record for record in self._caplog.records if record.threadName not in ("watch", "wards")]
        return [record for record in records if record.levelno == logging.ERROR]

    def errors(self) -> list[str]:
        return [record.getMessage() for record in self._errors]

    def back(self) -> int:
        return [record.getMessage() for record in self._caplog.records].count("the cache is back")

    def one_a_second(self) -> bool:
        times = [record.created for record in self._errors]
        return all(later - earlier > 0.95 for earlier, later in pairwise(times))


@contextmanager
def connected(url: str) -> Iterator[Cache]:
    """Connect to ``url``, and close every connection at the end."""
    cache = connect(url, APPID)
    try:
        yield cache
    finally:
        close(cache)


def close(cache: Cache) -> None:
    """Close its connections."""
    backend = cache._backend
    if pool := getattr(backend, "_client", None):  # memcached's
        pool.close()
    if client := getattr(backend, "_write_client", None):  # Redis's
        client.connection_pool.disconnect()
        if sentinel := getattr(client.connection_pool, "sentinel_manager", None):
            sentinel.close()
