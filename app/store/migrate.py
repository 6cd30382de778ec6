"""``flask db``: the migrations, apart from the rest since Alembic takes 11 MB a process."""

from pathlib import Path

from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import Migrate
from sqlalchemy import inspect, text

from app.store import db, transaction

_FOLDER = Path(__file__).parent / "migrations"


def add_migrations(app: Flask) -> None:
    """Give ``app`` the commands ``flask db ...``, after ``open_store``."""
    Migrate(app, db, directory=str(_FOLDER), render_as_batch=True)


def revisions() -> tuple[str | None, str | None]:
    """Return at which revision the database is, None for an empty one, and the newest there is. Raises StoreError."""
    current = None
    with transaction() as session:
        if inspect(session.connection()).has_table("alembic_version"):
            current = session.scalar(text("SELECT version_num FROM alembic_version"))
    return current, ScriptDirectory(str(_FOLDER)).get_current_head()
