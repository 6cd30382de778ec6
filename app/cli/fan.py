"""A fan in the shell, and the handler table."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import click

from app.callback import xml
from app.callback.parse import parse
from app.callback.seal import Seal
from app.cli import echo, failure
from app.config import Settings
from app.errors import BadMessage
from app.sandbox.api import STATE_FILE
from app.sandbox.login import OPENID
from app.sandbox.messages import event_message, renewed, text_message
from app.sandbox.phone import Phone
from app.sandbox.wechat import WeChat
from app.table.dispatch import Table
from app.table.rows import Function, Row

Command = Callable[..., None]


def commands(settings: Settings, table: Table) -> list[click.Command]:
    """Return ``say``, ``event``, ``send`` and ``handlers``."""
    fan = _fan_options(settings)

    @click.command()
    @click.argument("text")
    @fan
    def say(text: str, openid: str | None, url: str, mode: str) -> None:
        """Send TEXT as a fan and print the reply."""
        _deliver(settings, text_message(openid or OPENID, text), url, mode)

    @click.command()
    @click.argument("event")
    @click.option("--scene", help="The scene of the QR code that the fan scanned.")
    @click.option("--key", help="EventKey: a menu button's key, or its URL.")
    @fan
    def event(event: str, scene: str | None, key: str | None, openid: str | None, url: str, mode: str) -> None:
        """Send EVENT (subscribe, scan, click, ...) as a fan and print the reply."""
        _deliver(settings, event_message(openid or OPENID, event, key, scene), url, mode)

    @click.command()
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @fan
    def send(file: Path, openid: str | None, url: str, mode: str) -> None:
        """Send the message recorded in FILE as a new one (MsgId, CreateTime) and print the reply."""
        try:
            message = renewed(file.read_text(encoding="utf-8"), openid)
        except UnicodeDecodeError as error:
            raise failure(f"{file} is not UTF-8 text") from error
        _deliver(settings, message, url, mode)

    @click.command()
    def handlers() -> None:
        """Print the handler table."""
        _print_table(table)

    return [say, event, send, handlers]


def _fan_options(settings: Settings) -> Callable[[Command], Command]:
    default_url = f"http://{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8111')}{settings.path}"
    options = (
        click.option("--as", "openid", metavar="OPENID", help="The fan's openid."),
        click.option("--url", default=default_url, show_default=True, help="The callback to deliver to."),
        click.option(
            "--mode",
            type=click.Choice(["normal", "compatible", "safe"]),
            default=settings.encrypt_mode,
            show_default=True,
            help="How WeChat seals.",
        ),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _deliver(settings: Settings, message: str, url: str, mode: str) -> None:
    try:
        parsed = parse(xml.read(message.encode()))
    except BadMessage as error:
        raise failure(f"this is no message: {error}") from error
    if mode != "normal" and not (settings.appid and settings.encoding_aes_key):
        raise failure(f"--mode {mode} needs WECHAT_APPID and WECHAT_ENCODING_AES_KEY")
    seal = None if mode == "normal" else Seal(settings.encoding_aes_key, settings.appid)
    if settings.sandbox:  # what WeChat itself would know
        WeChat(settings.appid, settings.appsecret, STATE_FILE).heard(parsed.openid, parsed.event)
    with Phone(url, settings.token, parsed.openid, mode, seal) as phone:
        outcome = phone.deliver(message)
    echo(outcome.shown or "(silence)")
    deliveries = "1 delivery" if outcome.deliveries == 1 else f"{outcome.deliveries} deliveries"
    echo(f"-- {deliveries}, {outcome.seconds * 1000:.0f} ms{outcome.reason and ': '}{outcome.reason}", err=True)
    if not outcome.answered:
        raise click.exceptions.Exit(1)


def _print_table(table: Table) -> None:
    lines = [(row.text, _place(row)) for row in table.rows]
    lines += [("MIDDLEWARE", _place(function)) for function in table.middleware]
    width = max((_columns(row) for row, _ in lines), default=0)
    for row, place in lines:
        echo(f"{row}{' ' * (width - _columns(row))}  {place}")


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _place(function: Row | Function) -> str:
    return f"{function.name}  ({function.file}:{function.line})" if function.file else function.name
