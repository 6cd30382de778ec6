"""The tables, from each revision to the latest; and what the three databases must do alike."""

from pathlib import Path
from stat import S_IMODE
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask

from app.store import Base, db, transaction
from app.store.fans import find_fan, keep_fan
from app.store.qrcodes import Wanted, claim_code, codes, find_code, keep_code
from tests.servers import APPID, ROOT
from tests.store.conftest import opened

SCRIPTS = ScriptDirectory(str(ROOT / "app" / "store" / "migrations"))
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]
# A row of each table, as it was when the table was made.
ROWS: dict[str, dict[str, Any]] = {
    "menu_revision": {
        "appid": APPID,
        "number": 7,
        "created_at": 2**40,
        "author": "ops",
        "note": "春节 🧧",
        "content": '{"button": []}',
        "current": True,
        "pushing": None,
    },
    "qr_code": {
        "appid": APPID,
        "kind": "str",
        "scene": "poster-7",
        "expire_seconds": 0,
        "created_at": 2**40,
        "ends_at": 0,
        "ticket": "gQFK8Dw",
        "url": "http://weixin.qq.com/q/02T",
        "claim": None,
        "claimed_at": 2**40,
    },
    "scene_count": {"appid": APPID, "scene": "poster-7", "day": "2026-02-17", "scans": 3, "follows": 2},
    "fan": {
        "appid": APPID,
        "openid": "oA",
        "unionid": None,
        "nickname": "小明🐼",
        "headimgurl": None,
        "first_login_at": 2**40,
        "last_login_at": 2**40,
    },
    "figures": {"appid": APPID, "source": "wechat-1", "minute": 2**40, "content": '{"messages/text": 1}'},
}


def tables() -> set[str]:
    return set(sa.inspect(db.engine).get_table_names()) - {"alembic_version"}


def differences() -> list[Any]:
    with db.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def rows() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table that is there, without their ids."""
    with db.engine.connect() as connection:
        found = {name: connection.execute(sa.text(f"SELECT * FROM {name}")).mappings().all() for name in tables()}
    return {name: [{key: row[key] for key in row if key != "id"} for row in all_] for name, all_ in found.items()}


def put_rows() -> dict[str, list[dict[str, Any]]]:
    names = tables()
    with db.engine.begin() as connection:
        for name in names:
            connection.execute(sa.insert(sa.Table(name, sa.MetaData(), autoload_with=connection)), ROWS[name])
    return {name: [ROWS[name]] for name in names}


def test_an_empty_database_gets_all_tables(database_url: str) -> None:
    with opened(database_url) as app, app.app_context():
        assert tables() == set()
        flask_migrate.upgrade()
        assert tables() == set(Base.metadata.tables)
        assert differences() == []
        flask_migrate.upgrade()
        flask_migrate.downgrade(revision="base")
        assert tables() == set()


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_rows_outlive_the_upgrade_from_each_revision(database_url: str, revision: str) -> None:
    with opened(database_url) as app, app.app_context():
        flask_migrate.upgrade(revision=revision)
        put = put_rows()
        assert len(put) >= 1
        flask_migrate.upgrade()
        assert rows() == {name: put.get(name, []) for name in Base.metadata.tables}
        assert differences() == []


def test_each_revision_can_be_taken_back(database_url: str) -> None:
    with opened(database_url) as app, app.app_context():
        flask_migrate.upgrade()
        put = put_rows()
        for revision in reversed(REVISIONS[:-1]):
            flask_migrate.downgrade(revision=revision)
            assert rows() == {name: put[name] for name in tables()}
        flask_migrate.upgrade()
        assert differences() == []


def test_a_change_of_the_models_would_be_seen(database_url: str) -> None:
    with opened(database_url) as app, app.app_context():
        flask_migrate.upgrade()
        with db.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE fan DROP COLUMN nickname"))
        assert [change[0] for change in differences()] == ["add_column"]


def test_openids_that_differ_in_case_are_two_fans(store: Flask) -> None:
    for openid in ("oA", "oa"):
        keep_fan(APPID, openid, {"nickname": f"fan {openid}"})
    found = [find_fan(APPID, openid) for openid in ("oA", "oa", "OA")]
    assert [fan and fan.nickname for fan in found] == ["fan oA", "fan oa", None]


def test_scenes_that_differ_in_case_are_two_codes(store: Flask) -> None:
    for scene in ("A", "a"):
        wanted = Wanted(APPID, "str", scene, 0)
        claim = claim_code(wanted)
        assert claim
        keep_code(wanted, claim, f"ticket {scene}", "http://weixin.qq.com/q/02", 0)
    found = [find_code(Wanted(APPID, "str", scene, 0)) for scene in ("A", "a")]
    assert [code and code.ticket for code in found] == ["ticket A", "ticket a"]
    assert len(codes(APPID)) == 2


def test_a_nickname_comes_back_as_it_was(store: Flask) -> None:
    for nickname in ("小明🐼👨‍👩‍👧‍👦", "naïve ", "🧧" * 255, "O'Brien\\ %s :x \n"):
        keep_fan(APPID, "oA", {"nickname": nickname})
        fan = find_fan(APPID, "oA")
        assert fan
        assert fan.nickname == nickname


def test_the_default_is_a_file_in_the_working_directory_that_only_its_owner_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with opened("sqlite:///instance/wechat.db") as app, app.app_context():
        monkeypatch.chdir("/")
        flask_migrate.upgrade()
        with transaction() as session:
            assert session.scalar(sa.text("PRAGMA journal_mode")) == "wal"
            assert session.scalar(sa.text("PRAGMA foreign_keys")) == 1
        folder = tmp_path / "instance"
        files = {path.name: oct(S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}
        assert files == dict.fromkeys(("wechat.db", "wechat.db-shm", "wechat.db-wal"), "0o600")
        assert S_IMODE(folder.stat().st_mode) == 0o700


def test_a_file_that_is_there_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.db").touch(0o640)
    with opened(f"sqlite:///{tmp_path}/mine.db") as app, app.app_context():
        flask_migrate.upgrade()
        keep_fan(APPID, "oA", {})
    assert S_IMODE((tmp_path / "mine.db").stat().st_mode) == 0o640
    with opened(f"sqlite:///{tmp_path}/mine.db") as app, app.app_context():
        assert find_fan(APPID, "oA")
