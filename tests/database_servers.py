"""Real MariaDB and PostgreSQL on free ports of 127.0.0.1, in folders of their own, started and ended by the tests."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from tests.cache_servers import PASSWORD, CacheServer
from tests.servers import free_port, program, wait_for

# What to connect to for what concerns the whole server: the driver, and the database that is always there.
_ALWAYS_THERE = {"mysql": ("mysql+pymysql", "mysql"), "postgresql": ("postgresql+psycopg", "postgres")}
# What was committed outlives a kill, not a power failure.
_MARIADB = [
    "--no-defaults",
    "--skip-name-resolve",
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-fast-shutdown=2",
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-file-size=4M",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=1M",
]
_MARIADB_SERVER = ["--bind-address=127.0.0.1", "--skip-log-bin", "--skip-ssl", "--performance-schema=off"]
_POSTGRESQL = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "dynamic_shared_memory_type=mmap",
    "shared_buffers=16MB",
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_parallel_workers=0",
    "autovacuum=off",
    "deadlock_timeout=100ms",
]


class DatabaseServer(CacheServer):
    """All processes of a database server with the account ``wechat``; ``url`` is the same in all its lives."""

    def __init__(self, scheme: str, command: list[str], folder: Path, port: int) -> None:
        # PyMySQL would read all of the system's certificates for each connection.
        options = "?ssl_disabled=1" if scheme == "mysql" else ""
        self.url = f"{scheme}://wechat:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/wechat{options}"
        self._wakes: subprocess.Popen[bytes] | None = None
        super().__init__(command, folder, port, self._answers)

    def kill(self) -> None:
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self._server.process.wait()
        wait_for(lambda: all(_state(pid) in ("", "Z") for pid in pids), what="the end of the database")
        self.go_on()

    def stand_still(self) -> None:
        pids = self._pids()
        # Whatever becomes of this process, they do not stand for ever.
        command = ["sh", "-c", 'read _; kill -CONT "$@" 2>/dev/null', "sh", *map(str, pids)]
        self._wakes = subprocess.Popen(command, stdin=subprocess.PIPE)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: all(_state(pid) == "T" for pid in pids), what="the database's standstill")

    def go_on(self) -> None:
        if self._wakes:
            self._wakes.communicate()
            self._wakes = None

    def be_up(self) -> None:
        """Go on, or start again, after whatever a test did."""
        self.go_on()
        if self._server.process.poll() is not None:
            self.start()

    def end(self) -> None:
        """Let it clean up, quickly: PostgreSQL leaves shared memory behind where it is killed."""
        self.go_on()
        self._server.process.send_signal(signal.SIGQUIT if "postgresql" in self.url else signal.SIGKILL)
        self._server.process.wait(20)

    def ask(self, sql: str) -> None:
        url = make_url(self.url)
        connect_args = {"password": PASSWORD.encode()} if url.drivername == "mysql" else {}
        driver, database = _ALWAYS_THERE[url.drivername]
        url = url.set(drivername=driver, database=database)
        engine = create_engine(url, poolclass=NullPool, connect_args=connect_args, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(sql))

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make an empty database, give its URL, and drop it."""
        name = f"wechat_{secrets.token_hex(6)}"
        self.ask(f"CREATE DATABASE {name}")
        try:
            yield make_url(self.url).set(database=name).render_as_string(hide_password=False)
        finally:
            self.ask(f"DROP DATABASE {name}" + (" WITH (FORCE)" if "postgresql" in self.url else ""))

    def _answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except OperationalError:
            return False
        return True

    def _pids(self) -> list[int]:
        pid = self._server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(int(child) for child in children)]


def _state(pid: int) -> str:
    """Return the process's state, as ps shows it; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def mariadb_server() -> Iterator[DatabaseServer]:
    with _folder("mysql") as (folder, run):
        data, port = folder / "data", free_port()
        install = [program("mariadb-install-db"), *_MARIADB, f"--datadir={data}"]
        _prepare([*run, *install, "--auth-root-authentication-method=normal", "--skip-test-db"], folder)
        setup = folder / "setup.sql"
        setup.write_text(
            "CREATE DATABASE IF NOT EXISTS wechat;\n"
            f"CREATE USER IF NOT EXISTS wechat IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO wechat;\n"
        )
        options = [f"--datadir={data}", f"--port={port}", f"--socket={folder}/socket", f"--init-file={setup}"]
        command = [*run, program("mariadbd"), *_MARIADB, *_MARIADB_SERVER, *options]
        yield from _run("mysql", command, folder, port)


@contextmanager
def postgresql_server() -> Iterator[DatabaseServer]:
    with _folder("postgres") as (folder, run):
        data, port = folder / "data", free_port()
        password = folder / "password"
        password.write_text(PASSWORD)
        account = ["--username=wechat", f"--pwfile={password}", "--auth=scram-sha-256"]
        _prepare([*run, _of_postgresql("initdb"), "-D", str(data), "--no-sync", "-E", "UTF8", *account], folder)
        options = [word for option in [f"port={port}", *_POSTGRESQL] for word in ("-c", option)]
        running = _run("postgresql", [*run, _of_postgresql("postgres"), "-D", str(data), *options], folder, port)
        for server in running:
            server.ask("CREATE DATABASE wechat")
            yield server


def _run(scheme: str, command: list[str], folder: Path, port: int) -> Iterator[DatabaseServer]:
    server = DatabaseServer(scheme, command, folder, port)
    try:
        yield server
    finally:
        server.end()


@contextmanager
def _folder(account: str) -> Iterator[tuple[Path, list[str]]]:
    """Make a folder, and give it with the command before each command that runs in it.

    Root's servers run as the account that Debian's package made: PostgreSQL refuses root, and where mariadb-install-db
    is told that root is meant, it changes the owner of the system's plugins.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"test-{account}-"))
    run = [program("setpriv"), "--pdeathsig", "QUIT" if account == "postgres" else "KILL"]
    if os.geteuid() == 0:
        shutil.chown(folder, account, account)
        run += ["--reuid", account, "--regid", account, "--clear-groups"]
    try:
        yield folder, run
    finally:
        shutil.rmtree(folder)


def _prepare(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stdout[-3000:]}")


def _of_postgresql(name: str) -> str:
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(versions[-1]) if versions else program(name)
