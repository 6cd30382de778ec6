"""The operator's door in the shell: ``flask wechat ...``."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import ParamSpec

import click
from flask import Flask

import log
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


def echo(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print ``text``, of which a fan or WeChat may have written a part, with nothing in it that a terminal obeys."""
    click.echo(log.visible(text), nl=nl, err=err)


def failure(text: str) -> click.ClickException:
    """Return what ends a command with ``text``, printed as by ``echo``."""
    return click.ClickException(log.visible(text))


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show what a command was refused for without its traceback."""
    try:
        yield
    except (ApiError, BadMenu, BadReply, ConfigError, StoreError, ValueError, OSError) as error:
        raise failure(str(error)) from error
