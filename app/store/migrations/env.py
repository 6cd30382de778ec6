"""Alembic's entry, called by ``flask db ...``: the engine and the tables are the application's."""

import click
from alembic import context
from flask import current_app
from sqlalchemy.exc import SQLAlchemyError

from app.store import Base, models, reason_of  # noqa: F401 (importing it makes the tables known)

_migrate = current_app.extensions["migrate"]
_tables = Base.metadata


def _run_online() -> None:
    try:
        connected = _migrate.db.engine.connect()
    except SQLAlchemyError as error:
        raise click.ClickException(reason_of(error)) from error
    with connected as connection:
        context.configure(connection=connection, target_metadata=_tables, **_migrate.configure_args)
        with context.begin_transaction():
            context.run_migrations()


def _run_offline() -> None:
    url = _migrate.db.engine.url
    context.configure(url=url, target_metadata=_tables, literal_binds=True, **_migrate.configure_args)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _run_offline()
else:
    _run_online()
