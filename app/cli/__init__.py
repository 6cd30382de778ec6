"""The operator's door in the shell: ``flask wechat ...``."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import ParamSpec

import click
from flask import Flask

from app.errors import ApiError, BadMenu, BadReply, ConfigError, StoreError

Arguments = ParamSpec("Arguments")


def in_shell() -> bool:
    """Tell whether a ``flask`` command is what this process runs."""
    return click.get_current_context(silent=True) is not None


def with_doctor(create: Callable[Arguments, Flask]) -> Callable[Arguments, Flask]:
    """Let the shell have a doctor who says what is wrong, and no traceback, where ``create`` raises ConfigError."""

    @functools.wraps(create)
    def created(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Flask:
        try:
            return create(*args, **kwargs)
        except ConfigError as error:
            if not in_shell():
                raise
            app: Flask = import_module("app.cli.doctor").without_service(error)
            return app

    return created


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show what a command was refused for without its traceback."""
    try:
        yield
    except (ApiError, BadMenu, BadReply, ConfigError, StoreError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
