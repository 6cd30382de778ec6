"""Who is on this machine: pages for its operator are for nobody else."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

_ADDRESSES = ("127.0.0.1", "::1", "")
_NAMES = ("127.0.0.1", "[::1]", "localhost")
_PASSED_ON = ("HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_VIA")


def is_near(environ: Mapping[str, Any]) -> bool:
    """Tell whether the request comes from this machine itself, or nginx has let it through (nginx/account.conf).

    A tunnel comes from this machine too: most say so in a header, or pass on the name of the site that was asked for.
    """
    if environ.get("IS_NEAR"):  # no client can set it: what a client sends begins with HTTP_
        return True
    if any(environ.get(name) for name in _PASSED_ON):
        return False
    host = str(environ.get("HTTP_HOST", "localhost"))
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return environ.get("REMOTE_ADDR", "") in _ADDRESSES and name.lower() in _NAMES


def is_this_machine(host: str) -> bool:
    """Tell whether ``host``, a name or an address of a URL, is this machine for itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
