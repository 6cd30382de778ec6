"""``flask wechat menu``: the menu from and to a file in WeChat's own format."""

import getpass
import json
import os
import time
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from app import place
from app.api import get_api, menu
from app.api.menu_form import normalised
from app.api.menu_rules import check
from app.cli import echo, plain_errors
from app.errors import BadMenu
from app.store.menus import revisions
from app.store.models import MenuRevision
from app.table.dispatch import Table

_FILE = click.argument("file", default="menu.json", type=click.Path(path_type=Path))
_AUTHOR = click.option("--author", default=lambda: _author(), show_default="the user", help="Who pushes.")


def group(table: Table) -> click.Group:
    """Return the group ``menu``; ``table`` tells which clicks are answered."""
    group = click.Group("menu", help="Pull, check and push the account's menu, and go back to an earlier one.")

    @group.command("check")
    @_FILE
    def check_file(file: Path) -> None:
        """Say what WeChat would refuse in FILE, and which clicks nobody answers. Calls nothing."""
        with plain_errors():
            _checked(file, table)
        echo(f"{file}: WeChat would take it")

    @group.command()
    @_FILE
    @_AUTHOR
    @click.option("--note", default="", help="Why.")
    @click.option("--force", is_flag=True, help="Also when the current revision is the same.")
    @with_appcontext
    def push(file: Path, author: str, note: str, force: bool) -> None:
        """Give WeChat the menu in FILE, as a new revision. What is there already is not pushed again."""
        with plain_errors():
            wanted = _checked(file, table)
            api = get_api()
            _say_pushed(*menu.push(api.client, api.settings.account, wanted, author, note, force=force))

    for command in (pull, diff, history, rollback, delete):
        group.add_command(command)
    return group


@click.command()
@_FILE
@click.option("--force", is_flag=True, help="Write over a FILE that holds another menu.")
@with_appcontext
def pull(file: Path, force: bool) -> None:
    """Write the menu that WeChat has to FILE (- for the terminal)."""
    with plain_errors():
        found = menu.pull(get_api().client)
        if found is None:
            raise BadMenu("WeChat has no menu, or one that was made on the account's page, which the API does not show")
        text = menu.as_text(menu.in_wechats_format(found)) + "\n"
        if str(file) == "-":
            echo(text, nl=False)
            return
        if file.exists() and not force and normalised(_read(file)) != found:
            raise BadMenu(
                f"{file} holds another menu; --force writes over it ({place.command('wechat menu diff')} {file})"
            )
        file.write_text(text, encoding="utf-8")
        echo(f"wrote {file}")


@click.command()
@_FILE
@with_appcontext
def diff(file: Path) -> None:
    """Show how FILE differs from the menu that WeChat has. Exit status 1 when it does."""
    with plain_errors():
        lines = menu.differences(menu.pull(get_api().client), normalised(_read(file)))
    for line in lines:
        echo(line)
    if lines:
        raise click.exceptions.Exit(1)


@click.command()
@with_appcontext
def history() -> None:
    """List the revisions, the newest first; * is the current one."""
    with plain_errors():
        found = revisions(get_api().settings.account)
    for revision in found:
        echo(_line(revision))
    if not found:
        echo("no menu has been pushed yet", err=True)


@click.command()
@click.argument("number", type=click.IntRange(min=1))
@_AUTHOR
@with_appcontext
def rollback(number: int, author: str) -> None:
    """Push revision NUMBER again, as a new revision."""
    with plain_errors():
        api = get_api()
        _say_pushed(*menu.rollback(api.client, api.settings.account, number, author))


@click.command()
@click.option("--yes", is_flag=True, help="Without asking.")
@with_appcontext
def delete(yes: bool) -> None:
    """Delete the menu at WeChat, with the conditional ones. The revisions stay."""
    if not yes:
        click.confirm("delete the menu of the account?", abort=True)
    with plain_errors():
        api = get_api()
        menu.delete(api.client, api.settings.account, _author())
    echo("deleted")


def _read(file: Path) -> Any:
    if not file.exists():
        raise BadMenu(
            f"{file}: no such file; docs/menus.md shows one, and {place.command('wechat menu pull')} writes one"
        )
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))  # some editors begin it with a mark
    except json.JSONDecodeError as error:
        raise BadMenu(f"{file} line {error.lineno}, column {error.colno}: {error.msg}; expected JSON") from error
    except UnicodeDecodeError as error:
        raise BadMenu(f"{file} is not UTF-8 text") from error


def _checked(file: Path, table: Table) -> Any:
    wanted = _read(file)
    problems, warnings = check(wanted, table.takes_click)
    for warning in warnings:
        echo(f"warning: {warning}", err=True)
    if problems:
        raise BadMenu("\n  - ".join([f"{file}: WeChat would refuse it:", *problems]))
    return wanted


def _say_pushed(revision: MenuRevision, called: bool) -> None:
    same = f"nothing to do: revision {revision.number} was pushed last and holds the same (--force pushes it again)"
    echo(f"pushed revision {revision.number}" if called else same)


def _line(revision: MenuRevision) -> str:
    mark = "*" if revision.current else " "
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(revision.created_at))
    return f"{mark} {revision.number:>4}  {when}  {revision.author}  {revision.note}".rstrip()


def _author() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except OSError:  # a user without a name
        return str(os.getuid())
