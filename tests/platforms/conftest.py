"""A platform as an app sees it: the repository's files in some folder, variables, a shell, and a database."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.sandbox.messages import event_message
from app.sandbox.phone import Phone
from tests.cache_servers import PASSWORD
from tests.database_servers import DatabaseServer, mariadb_server
from tests.servers import ROOT, TOKEN, Server, environment, listens, program, wait_for

OPENID = "oFanOfAPlatform0000000000000"
Start = Callable[..., Server]


@pytest.fixture(scope="module")
def mariadb() -> Iterator[DatabaseServer]:
    with mariadb_server() as server:
        yield server


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a platform gets of the repository, in a folder where nothing else can be found."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("log.py", "preload.py", "runserver.py", "uwsgi_wechat.ini"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def start(checkout: Path) -> Iterator[Start]:
    """Return a function that runs a line in a shell: ``start("uwsgi …", port, VARIABLE="value")``."""
    with ExitStack() as stack:

        def run(line: str, port: int, folder: Path = checkout, **variables: str) -> Server:
            # A test's server is for nobody else: the line's address becomes this machine's own.
            server = Server(["sh", "-c", line.replace("0.0.0.0:", "127.0.0.1:")], folder, variables_of(**variables))
            stack.callback(ended, server, port)
            server.wait_until(lambda: listens(port))
            return server

        yield run


def ended(server: Server, port: int) -> None:
    server.stop()
    assert not listens(port), "the shell got the signal instead of the server"


def variables_of(**variables: str) -> dict[str, str]:
    """Return a platform's environment: the programs of requirements.txt on the PATH, and nothing of this repository."""
    path = f"{Path(program('flask')).parent}:{os.environ['PATH']}"
    given = environment(PATH=path, **{"PYTHONPATH": "", **variables})
    return {name: value for name, value in given.items() if value}


def scan(port: int, scene: str = "poster-7") -> str:
    """Return what the fan sees who scans a QR code."""
    with Phone(f"http://127.0.0.1:{port}/wechat", TOKEN, OPENID) as phone:
        return phone.deliver(event_message(OPENID, "scan", scene=scene)).shown


def wait_for_scan(url: str, scene: str = "poster-7") -> None:
    """Wait until the database at ``url`` has the scan."""
    # PyMySQL takes a text for Latin-1.
    engine = create_engine(url, connect_args={"password": PASSWORD.encode()} if url.startswith("mysql") else {})
    query = text("SELECT sum(scans) FROM scene_count WHERE scene = :scene")

    def counted() -> bool:
        try:
            with engine.connect() as connection:
                return int(connection.execute(query, {"scene": scene}).scalar() or 0) == 1
        except SQLAlchemyError:  # no table yet
            return False

    try:
        wait_for(counted, what="the scan in the database")
    finally:
        engine.dispose()
