"""The group ``flask wechat``: what each command is called and where it is."""

import click

from app.cli import dev, doctor, echo, fan, ips, menu, message, new, password, qrcode, sandbox
from app.config import SANDBOX_API_PATH, Settings
from app.table.dispatch import Table

_OF_THE_API = ("menu", "qrcode", "message", "ips")


def wechat_commands(settings: Settings, table: Table) -> click.Group:
    """Return the group ``wechat`` for ``app.cli``."""

    @click.group("wechat")
    @click.pass_context
    def group(context: click.Context) -> None:
        """Play a fan of the account, look at what it answers, and run the account."""
        if settings.api_base_url.endswith(SANDBOX_API_PATH) and context.invoked_subcommand in _OF_THE_API:
            echo(f"-- WeChat is played locally by {settings.api_base_url}; nothing reaches a fan", err=True)

    for command in (
        *fan.commands(settings, table),
        menu.group(table),
        qrcode.group(),
        *message.commands(settings),
        ips.ips,
        new.new,
        password.password,
        doctor.command(settings, table),
        dev.command(settings, table),
    ):
        group.add_command(command)
    if settings.sandbox:
        group.add_command(sandbox.group(settings))
    return group
