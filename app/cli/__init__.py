"""The operator's door in the shell: ``flask wechat ...``."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from app.errors import ApiError, BadMenu, BadReply, ConfigError, StoreError


def in_shell() -> bool:
    """Tell whether a ``flask`` command is what this process runs."""
    return click.get_current_context(silent=True) is not None


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show what a command was refused for without its traceback."""
    try:
        yield
    except (ApiError, BadMenu, BadReply, ConfigError, StoreError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
