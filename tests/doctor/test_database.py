"""The doctor on databases: those that are there, empty, old, read-only, gone, or on a network."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.doctor.database import check_database
from tests.doctor.conftest import Look, said
from tests.servers import free_port


def test_a_database_that_is_up_to_date_is_ok(look: Look) -> None:
    [(status, text)] = said(look(check_database, 1), "database")
    assert status == "ok"
    assert "at revision 0005" in text


def test_an_empty_one_and_an_old_one_want_an_upgrade(look: Look, tmp_path: Path) -> None:
    empty = look(check_database, 1, WECHAT_DATABASE_URL=f"sqlite:///{tmp_path}/new.db")
    assert said(empty, "database") == [
        ("wrong", "sqlite is at revision none, and this version needs 0005 -> flask db upgrade")
    ]
    _change(tmp_path, "UPDATE alembic_version SET version_num = '0002'")
    [(status, text)] = said(look(check_database, 1), "database")
    assert status == "wrong"
    assert "at revision 0002" in text


def test_one_that_is_not_there_or_cannot_be_written_to_is_wrong(look: Look, tmp_path: Path) -> None:
    gone = look(check_database, 1, WECHAT_DATABASE_URL=f"postgresql://me:s3cretPass@127.0.0.1:{free_port()}/x")
    assert [finding.status for finding in gone] == ["wrong"]
    assert "s3cretPass" not in str(gone)
    _change(tmp_path, "CREATE TRIGGER t BEFORE UPDATE ON alembic_version BEGIN SELECT RAISE(ABORT, 'read-only'); END")
    [(status, text)] = said(look(check_database, 1), "database")
    assert status == "wrong"
    assert "cannot be written to" in text


def _change(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "wechat.db")) as file, file:
        file.execute(statement)


@pytest.mark.parametrize(("kind", "statuses"), [("nfs4", ["ok", "wrong"]), ("ext4", ["ok"])])
def test_sqlite_on_a_disk_of_the_network_is_wrong(kind: str, statuses: list[str], look: Look, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/share {tmp_path} {kind} rw 0 0\nx /proc proc rw 0 0\n")
    assert [finding.status for finding in look(check_database, 1, mounts)] == statuses


def test_sqlite_for_several_machines_is_a_warning(look: Look) -> None:
    assert [finding.status for finding in look(check_database, 3)] == ["ok", "warning"]
