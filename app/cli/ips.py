"""``flask wechat ips``: the addresses that WeChat's messages come from, for nginx or a firewall."""

import os
import re
import tempfile
import time
from ipaddress import ip_network
from pathlib import Path

import click
from flask.cli import with_appcontext

from app.api import get_client
from app.api.callers import Network, push_addresses, short, sorted_once
from app.cli import echo, plain_errors
from app.errors import ConfigError

# nginx reads the list as root, others may: it holds nothing that is not known to all of WeChat's accounts.
_MODE = 0o644
_LINE = re.compile(r"^\s*(?:allow\s+)?([0-9a-fA-F.:/]+)\s*;?\s*$", re.MULTILINE)
_HEAD = "# Who may call:"  # of the line with the date
_LOOPBACK = ("127.0.0.1/32", "::1/128")


@click.command()
@click.option("--format", "form", type=click.Choice(["plain", "nginx"]), default="plain", show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file, if it changes.")
@click.option("--force", is_flag=True, help="Also where more than half of the file's addresses would go.")
@with_appcontext
def ips(form: str, output: Path | None, force: bool) -> None:
    """List WeChat's push addresses, plain or as an allow list that nginx includes."""
    with plain_errors():
        networks = push_addresses(get_client())
        text = _as_nginx(networks) if form == "nginx" else _as_plain(networks)
        if output is None:
            echo(text, nl=False)
            return
        old = output.read_text(encoding="utf-8") if output.exists() else ""
        if _undated(old) == _undated(text):
            echo(f"{output} holds the same {len(networks)} addresses")
            return
        before = _listed(old)
        gone, new = set(before) - set(networks), set(networks) - set(before)
        if len(gone) * 2 > len(before) and not force:
            raise ConfigError(
                f"{output} is kept: {len(gone)} of its {len(before)} addresses are not in WeChat's answer, which has "
                f"{len(networks)}; --force takes it"
            )
        _replace(output, text)
        echo(f"wrote {output}: {len(networks)} addresses, {len(new)} new, {len(gone)} gone")


def _as_plain(networks: list[Network]) -> str:
    return "".join(f"{short(network)}\n" for network in networks)


def _as_nginx(networks: list[Network]) -> str:
    today = time.strftime("%Y-%m-%d")
    head = f"{_HEAD} {len(networks)} addresses and networks of WeChat, of {today}, and this machine itself.\n"
    own = [ip_network(address) for address in _LOOPBACK]
    rules = [f"allow {short(network)};\n" for network in [*networks, *own]]
    return "".join([head, "# Made by: flask wechat ips --format nginx\n", *rules, "deny all;\n"])


def _undated(text: str) -> str:
    return text if not text.startswith(_HEAD) else text.partition("\n")[2]


def _listed(text: str) -> list[Network]:
    """Return the addresses in a list of either format, without this machine's own."""
    found = [ip_network(address) for address in _LINE.findall(text)]
    return sorted_once([network for network in found if str(network) not in _LOOPBACK])


def _replace(path: Path, text: str) -> None:
    """Write the file whole or not at all: nginx may read it at any moment, and power may fail."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
