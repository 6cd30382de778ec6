"""A machine with one nginx, from the shipped files, and accounts that come and go behind it."""

import os
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from app.sandbox.phone import Phone
from tests.faults.service import Service
from tests.load.site import family
from tests.servers import ROOT, Server, environment, free_port, listens, program, substituted, uwsgi, wait_for

OPENID = "oFanOfTwoAccounts00000000000"


def appid(name: str) -> str:
    return f"wx{name:x>16}"


class Account(NamedTuple):
    """An account's uWSGI with its token, as fans reach it through nginx."""

    name: str
    token: str
    service: Service
    running: ExitStack

    def fan(self, openid: str = OPENID) -> Phone:
        return Phone(self.service.url, self.token, openid)


class Machine:
    """nginx on ``port``, while the context is entered; the folder ``site`` stands for /etc/nginx/wechat.

    ``site`` and ``main`` are replacements in wechat.conf and nginx.conf.
    """

    def __init__(
        self, folder: Path, site: Mapping[str, str] | None = None, main: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.site, self.port = folder, folder / "wechat", free_port()
        self.site.mkdir()
        self._accounts: dict[str, Account] = {}
        conf = _nginx_conf(folder, self.port, site or {}, main or {})
        self.nginx = Server([program("nginx"), "-p", str(folder), "-c", str(conf)], folder, environment())

    def __enter__(self) -> Self:
        self.nginx.wait_until(lambda: listens(self.port))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(self.stop, list(self._accounts)))
        finally:
            self.nginx.stop()

    def start(
        self,
        name: str,
        *,
        processes: int = 1,
        prefix: tuple[str, ...] = (),
        empty_database: bytes = b"",
        replacements: Mapping[str, str] | None = None,
        **settings: str,
    ) -> Account:
        """Start an account's uWSGI in a folder of its own, with the settings in its .env; nginx knows nothing of it."""
        folder, token = self.folder / name, f"{name}Token1"
        (folder / "instance").mkdir(parents=True)
        if empty_database:
            (folder / "instance" / "wechat.db").write_bytes(empty_database)
        given = {"WECHAT_TOKEN": token, "WECHAT_APPID": appid(name), "WECHAT_PATH": f"/wechat/{name}"}
        given |= {"WECHAT_HANDLERS": "tests.load.handlers"}
        (folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in (given | settings).items()))
        env = environment(LOAD_RUNS=str(folder / "runs"))
        del env["WECHAT_TOKEN"]
        changes = {"processes = 2": f"processes = {processes}"}
        with ExitStack() as stack:
            running = uwsgi(
                folder,
                env,
                socket_path=folder / "uwsgi.sock",
                prefix=prefix,
                replacements=changes | dict(replacements or {}),
            )
            service = Service(f"http://127.0.0.1:{self.port}/wechat/{name}", stack.enter_context(running), folder)
            account = self._accounts[name] = Account(name, token, service, stack.pop_all())
        return account

    def stop(self, name: str) -> None:
        self._accounts.pop(name).running.close()

    def open(self, *names: str) -> None:
        """Let nginx send ``/wechat/NAME`` to the account: a file for each, as it is shipped, and a reload."""
        for name in names:
            (self.site / f"{name}.d").mkdir(exist_ok=True)
            paths = {
                "/run/wechat/shop/uwsgi.sock": str(self.folder / name / "uwsgi.sock"),
                "/etc/nginx/wechat/shop.d": str(self.site / f"{name}.d"),
                "/etc/nginx/wechat/": f"{self.site}/",
                "/wechat/shop": f"/wechat/{name}",
            }
            substituted(ROOT / "nginx" / "account.conf", self.site / f"{name}.conf", paths)
        self.reload()

    def close(self, name: str) -> None:
        (self.site / f"{name}.conf").unlink()
        self.reload()

    def add(self, *names: str, own: Mapping[str, Mapping[str, Any]] | None = None, **given: Any) -> list[Account]:
        """Start accounts all at once, each with what is its ``own`` beside ``given``, and open them."""
        with ThreadPoolExecutor(len(names)) as pool:
            accounts = list(pool.map(lambda name: self.start(name, **given, **(own or {}).get(name, {})), names))
        self.open(*names)
        return accounts

    def reload(self, seconds: float = 20) -> None:
        """Let nginx read its files again, and wait until no worker takes requests by the old ones.

        Raises TimeoutError where it goes on with the old ones.
        """
        old = self._workers()
        os.kill(self.nginx.process.pid, signal.SIGHUP)
        wait_for(lambda: (now := self._workers()) and not now & old, seconds, "nginx's new workers")

    def _workers(self) -> set[int]:
        return {pid for pid in family(self.nginx.process.pid)[1:] if _command(pid) == "nginx: worker process"}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")
    except OSError:  # it has ended meanwhile
        return ""


def _nginx_conf(folder: Path, port: int, site: Mapping[str, str], main: Mapping[str, str]) -> Path:
    site = {
        "    listen [::]:80 default_server;\n": "",
        "listen 80 default_server": f"listen 127.0.0.1:{port} default_server",
        "/var/log/nginx/": f"{folder}/",
        "/etc/nginx/wechat/": f"{folder}/wechat/",
        **site,
    }
    substituted(ROOT / "nginx" / "wechat.conf", folder / "wechat.conf", site)
    substituted(ROOT / "nginx" / "params", folder / "wechat" / "params", {})
    inside = "".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    main = {
        **main,
        "user www-data;": "user root;" if os.geteuid() == 0 else "",  # root's folder of the test is root's alone
        "pid /run/nginx.pid;": f"pid {folder}/nginx.pid; daemon off;",
        "error_log /var/log/nginx/error.log alert;": "error_log stderr warn;",
        "default_type application/octet-stream;": f"client_body_temp_path {folder}/body; {inside}",
        "/etc/nginx/conf.d/*.conf": str(folder / "wechat.conf"),
    }
    return substituted(ROOT / "nginx" / "nginx.conf", folder / "nginx.conf", main)
