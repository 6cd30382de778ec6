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
    """Write the shipped files for ``port`` into ``folder``, with one account, which is at the root of the site."""
    files = ROOT / "nginx"
    account = {
        "= /wechat/shop {": "= /wechat {",
        "^/wechat/shop(": "^(",
        "SCRIPT_NAME /wechat/shop;": 'SCRIPT_NAME "";',
        "/run/wechat/shop/uwsgi.sock": str(folder / "uwsgi.sock"),
        "/etc/nginx/wechat/": f"{folder}/",
    }
    substituted(files / "account.conf", folder / "shop.conf", account)
    substituted(files / "params", folder / "params", {})
    site = {
        "    listen [::]:80 default_server;\n": "",
        "listen 80 default_server": f"listen 127.0.0.1:{port} default_server",
        "/var/log/nginx/wechat.log": str(folder / "access.log"),
        "/var/log/nginx/error.log": str(folder / "error.log"),
        "/etc/nginx/wechat/*.conf": f"{folder}/shop*.conf",
        "/etc/nginx/wechat/": f"{folder}/",
    }
    substituted(files / "wechat.conf", folder / "wechat.conf", site)
    inside = "".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    main = {
        # root's folder of the test is root's alone
        "user www-data;": "user root;" if os.geteuid() == 0 else "",
        "pid /run/nginx.pid;": f"pid {folder}/nginx.pid; daemon off;",
        "error_log /var/log/nginx/error.log alert;": "error_log stderr warn;",
        "default_type application/octet-stream;": f"client_body_temp_path {folder}/body; {inside}",
        "/etc/nginx/conf.d/*.conf": str(folder / "wechat.conf"),
    }
    return substituted(files / "nginx.conf", folder / "nginx.conf", main)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Return a function that starts a site: ``serve("safe", WECHAT_HANDLERS=...)``."""
    with ExitStack() as stack:

        def start(mode: str = "normal", replacements: dict[str, str] | None = None, **settings: Any) -> Site:
            sealed = SEALED if mode != "normal" else {}
            env = environment(WECHAT_ENCRYPT_MODE=mode, **sealed, **settings)
            socket = tmp_path / "uwsgi.sock"
            server = stack.enter_context(uwsgi(tmp_path, env, socket_path=socket, replacements=replacements))
            port = free_port()
            conf = nginx_config(tmp_path, port)
            nginx = Server([program("nginx"), "-p", str(tmp_path), "-c", str(conf)], tmp_path, env)
            stack.callback(nginx.stop)
            nginx.wait_until(lambda: listens(port))
            return Site(port, nginx, server, tmp_path)

        yield start
