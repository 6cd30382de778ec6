"""``flask db``: the migrations, apart from the rest since Alembic takes 11 MB a process."""

from pathlib import Path

from flask import Flask
from flask_migrate import Migrate

from app.store import db

_FOLDER = Path(__file__).parent / "migrations"


def add_migrations(app: Flask) -> None:
    """Give ``app`` the commands ``flask db ...``, after ``open_store``."""
    Migrate(app, db, directory=str(_FOLDER), render_as_batch=True)
