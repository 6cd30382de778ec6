"""The database: is it there, up to date, and can it be written to?"""

from importlib import import_module
from pathlib import Path

from sqlalchemy import text

from app import place
from app.config import Settings
from app.doctor.finding import Findings, ok, warning, wrong
from app.errors import StoreError
from app.store import db, transaction

# SQLite's locks do not work there, or not always.
_ON_A_NETWORK = {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs"}


def check_database(settings: Settings, machines: int, mounts: Path = Path("/proc/self/mounts")) -> Findings:
    """Yield how the database is; ``machines`` is to how many nginx passes this account's messages."""
    url = db.engine.url
    kind = url.get_backend_name()
    try:
        current, newest = import_module("app.store.migrate").revisions()
    except StoreError as error:
        yield wrong("database", f"{kind}: {error}", "start it, or correct WECHAT_DATABASE_URL")
        return
    if current != newest:
        found = f"{kind} is at revision {current or 'none'}, and this version needs {newest}"
        yield wrong("database", found, place.command("db upgrade"))
        return
    try:
        with transaction() as session:  # takes the lock that a write takes, and changes nothing
            session.execute(text("UPDATE alembic_version SET version_num = version_num"))
    except StoreError as error:
        todo = "make room on the disk: df -h" if "full" in str(error) else "give the service's user the right to write"
        yield wrong("database", f"{kind} cannot be written to: {error}", todo)
        return
    yield ok("database", f"{kind} answers, at revision {newest}, and can be written to")
    if kind == "sqlite" and machines > 1:
        found = f"SQLite is of one machine, and nginx passes messages to {machines}"
        yield warning("database", found, "set WECHAT_DATABASE_URL to a MySQL or PostgreSQL that all machines reach")
    if kind == "sqlite" and (kind_of_disk := _filesystem(Path(url.database or "/"), mounts)) in _ON_A_NETWORK:
        found = f"SQLite's file is on {kind_of_disk}, where two who write at once can destroy it"
        yield wrong("database", found, "put the file on a disk of this machine, or take MySQL or PostgreSQL")


def _filesystem(path: Path, mounts: Path) -> str:
    """Return the type of the file system that ``path`` is on: the mount with the longest path that holds it."""
    rows = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
    holding = [(len(row[1]), number, row[2]) for number, row in enumerate(rows) if path.is_relative_to(row[1])]
    return max(holding, default=(0, 0, ""))[2]
