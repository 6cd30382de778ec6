"""nginx and uWSGI from the shipped files, with ports and paths substituted."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import SEALED
from tests.servers import ROOT, Server, environment, free_port, listens, program, substituted, uwsgi


class Site(NamedTuple):
    """A running service: nginx in front on ``port``, uWSGI behind it."""

    port: int
    nginx: Server
    uwsgi: Server
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/wechat"


def nginx_config(folder: Path, port: int) -> Path:
    """Write nginx/wechat.conf and a main file around it, for ``port`` and with everything inside ``folder``."""
    changes = {
        "listen 80 default_server": f"listen 127.0.0.1:{port} default_server",
        "    listen [::]:80 default_server;\n": "",
        "/run/wechat/uwsgi.sock": str(folder / "uwsgi.sock"),
        "/var/log/nginx/wechat.log": str(folder / "access.log"),
        "/var/log/nginx/error.log": str(folder / "error.log"),
        "include uwsgi_params": "include /etc/nginx/uwsgi_params",
    }
    substituted(ROOT / "nginx" / "wechat.conf", folder / "wechat.conf", _in_order(changes))
    inside = "".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    main = {
        # root's folder of the test is root's alone
        "user www-data;": "user root;" if os.geteuid() == 0 else "",
        "pid /run/nginx.pid;": f"pid {folder}/nginx.pid; daemon off;",
        "error_log /var/log/nginx/error.log alert;": "error_log stderr warn;",
        "default_type application/octet-stream;": f"client_body_temp_path {folder}/body; {inside}",
        "/etc/nginx/conf.d/*.conf": str(folder / "wechat.conf"),
    }
    return substituted(ROOT / "nginx" / "nginx.conf", folder / "nginx.conf", main)


def _in_order(changes: dict[str, str]) -> dict[str, str]:
    # The line for IPv6 goes first: the one for IPv4 would be found inside it.
    return dict(sorted(changes.items(), key=lambda change: "[::]" not in change[0]))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Return a function that starts a site: ``serve("safe", WECHAT_HANDLERS=...)``."""
    with ExitStack() as stack:

        def start(mode: str = "normal", replacements: dict[str, str] | None = None, **settings: Any) -> Site:
            sealed = SEALED if mode != "normal" else {}
            env = environment(WECHAT_ENCRYPT_MODE=mode, **sealed, **settings)
            socket = tmp_path / "uwsgi.sock"
            if replacements is None:  # a start with 1500 threads takes its time
                replacements = {"threads = 1500": "threads = 100"}
            server = stack.enter_context(uwsgi(tmp_path, env, socket_path=socket, replacements=replacements))
            port = free_port()
            conf = nginx_config(tmp_path, port)
            nginx = Server([program("nginx"), "-p", str(tmp_path), "-c", str(conf)], tmp_path, env)
            stack.callback(nginx.stop)
            nginx.wait_until(lambda: listens(port))
            return Site(port, nginx, server, tmp_path)

        yield start
