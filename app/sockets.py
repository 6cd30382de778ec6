"""What uWSGI listens on: strangers must not reach a socket that believes whatever variables it is told."""

import os
import socket
import sys
from ipaddress import ip_address
from typing import Any

from app.errors import ConfigError

_OF_HTTP = ("http-socket", "https-socket")


def check_sockets() -> None:
    """Raise ConfigError where uWSGI takes its own protocol, or another's with variables, from other machines."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is None:
        return
    given = [str(uwsgi.opt.get(name, b""), "utf-8", "replace") for name in _OF_HTTP]
    ports = {address.partition(",")[0].rpartition(":")[2] for address in given}
    for descriptor in uwsgi.sockets:
        with socket.socket(fileno=os.dup(descriptor)) as listening:
            if listening.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            host, port = listening.getsockname()[:2]
        if not ip_address(host.partition("%")[0]).is_loopback and str(port) not in ports:
            raise ConfigError(
                f"uWSGI takes its own protocol at {host}:{port}, and would believe whoever reaches it to be nginx; "
                "expected a unix socket, or http-socket in place of socket"
            )
