"""``flask wechat doctor``: what is right, what is wrong, and what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import click
from flask import Flask
from flask.cli import AppGroup, FlaskGroup, with_appcontext

from app.cli import echo, failure
from app.config import Settings
from app.doctor import examine
from app.doctor.finding import OK, WARNING, WRONG, Finding, Findings
from app.doctor.nginx import NGINX_FILE
from app.doctor.settings import explain
from app.errors import ConfigError
from app.table.dispatch import Table

_MARKS = {OK: "✓", WARNING: "!", WRONG: "✗"}
# As the plug-ins of Nagios, Icinga and the like.
_EXIT_STATUS = {OK: 0, WARNING: 1, WRONG: 2}
_NAME_COLUMNS = 18
Look = Callable[[str, Path], Findings]


def command(settings: Settings, table: Table) -> click.Command:
    """Return ``doctor``."""
    return _doctor(lambda url, nginx: examine(settings, table, url, nginx))


def without_service(error: ConfigError) -> Flask:
    """Return an app whose commands say why the service cannot start; the doctor says what to do.

    Raises ClickException for a command that needs the service itself: ``flask run``, ``flask db``.
    """
    if not isinstance(click.get_current_context().command, FlaskGroup):
        raise failure(str(error)) from error
    app = Flask(__name__, static_folder=None)
    app.cli, below = _Left(error), _Left(error, "wechat")
    below.add_command(_doctor(lambda url, nginx: explain(error)))
    app.cli.add_command(below)
    return app


class _Left(AppGroup):
    """What is left of the commands where the service cannot start: any but the doctor says why."""

    def __init__(self, error: ConfigError, name: str | None = None) -> None:
        super().__init__(name)
        self._error = error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise failure(str(self._error)) from self._error
        return found


def _doctor(look: Look) -> click.Command:
    @click.command()
    @click.option("--json", "as_json", is_flag=True, help="A list of objects: name, status, found, todo.")
    @click.option("--url", default="", help="The callback as WeChat calls it. [default: by WECHAT_PUBLIC_URL]")
    @click.option(
        "--nginx",
        default=NGINX_FILE,
        show_default=True,
        type=click.Path(path_type=Path),
        help="nginx's main file.",
    )
    @with_appcontext
    def doctor(as_json: bool, url: str, nginx: Path) -> None:
        """Look at settings, machine, way in and account, and say what to do.

        Exit status: 0 all is ok, 1 warnings, 2 something is wrong.
        """
        worst = _print(look(url, nginx), as_json)
        if worst != OK:
            raise click.exceptions.Exit(_EXIT_STATUS[worst])

    return doctor


def _print(findings: Findings, as_json: bool) -> str:
    """Print each line as it comes, or all at the end as JSON, and return the worst status."""
    said: list[Finding] = []
    for finding in findings:
        said.append(finding)
        if not as_json:
            echo(f"{_MARKS[finding.status]} {finding.name:<{_NAME_COLUMNS}} {finding.found}")
            if finding.todo:
                echo(f"{' ' * (_NAME_COLUMNS + 3)}-> {finding.todo}")
    if as_json:
        echo(json.dumps([finding._asdict() for finding in said], ensure_ascii=False, indent=2))
    counts = {status: sum(finding.status == status for finding in said) for status in _EXIT_STATUS}
    echo(f"-- {counts[OK]} ok, {counts[WARNING]} warnings, {counts[WRONG]} wrong", err=True)
    return max((finding.status for finding in said), key=_EXIT_STATUS.__getitem__, default=OK)
