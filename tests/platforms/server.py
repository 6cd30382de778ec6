"""The server of docs/tunnels.md: sshd, and nginx from the shipped files with ports.map, all on 127.0.0.1."""

import os
import pwd
import random
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.conftest import nginx_config
from tests.platforms.pages import block
from tests.servers import ROOT, Server, free_port, listens, program, substituted

PAGE = "tunnels.md"
_SSHD = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
ListenAddress 127.0.0.1:{port}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
ClientAliveInterval 5
"""


class Remote(NamedTuple):
    """The server as the laptop knows it; ``mapped_port`` is 8011 of the page, ``api_port`` is 9443."""

    folder: Path
    http_port: int
    ssh_port: int
    mapped_port: int
    api_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/wechat{self.mapped_port}"

    def ssh(self, *words: str) -> list[str]:
        """Return the command of a laptop that has a key for the server, with ``words`` after ssh."""
        own = ["-F", "/dev/null", "-i", str(self.folder / "laptop"), "-p", str(self.ssh_port)]
        options = [f"UserKnownHostsFile={self.folder}/known_hosts", "IdentitiesOnly=yes", "BatchMode=yes"]
        return [program("ssh"), *own, *(word for option in options for word in ("-o", option)), *words]

    def tunnel(self, laptop_port: int) -> list[str]:
        """Return the page's command, for the service on ``laptop_port``."""
        line = block(PAGE, "On the laptop").replace("8011", str(self.mapped_port))
        line = line.replace("8111", str(laptop_port)).replace("tunnel@SERVER", self.name)
        return self.ssh(*shlex.split(line)[1:])

    @property
    def name(self) -> str:
        return f"{pwd.getpwuid(os.geteuid()).pw_name}@127.0.0.1"


@contextmanager
def remote(folder: Path, wechat_url: str) -> Iterator[Remote]:
    """Run the server in ``folder``; its proxy for WeChat's API leads to ``wechat_url``."""
    server = Remote(folder, free_port(), free_port(), _mapped_port(), free_port())
    _make_keys(server)
    (folder / "sshd.conf").write_text(_SSHD.format(folder=folder, port=server.ssh_port))
    with ExitStack() as stack:
        stack.enter_context(_privilege_folder())
        sshd = Server([program("sshd"), "-D", "-e", "-f", str(folder / "sshd.conf")], folder, os.environ)
        stack.callback(sshd.stop)
        sshd.wait_until(lambda: listens(server.ssh_port))
        conf = _nginx(server, wechat_url)
        nginx = Server([program("nginx"), "-p", str(folder), "-c", str(conf)], folder, os.environ)
        stack.callback(nginx.stop)
        nginx.wait_until(lambda: listens(server.http_port))
        yield server


def _mapped_port() -> int:
    """Return a free one of the ports that ports.map leads to."""
    return next(port for port in random.sample(range(8000, 8100), 100) if not listens(port))


def _make_keys(server: Remote) -> None:
    for name in ("host", "laptop"):
        path = str(server.folder / name)
        subprocess.run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    host, laptop = ((server.folder / f"{name}.pub").read_text() for name in ("host", "laptop"))
    (server.folder / "known_hosts").write_text(f"[127.0.0.1]:{server.ssh_port} {host}")
    allowed = block(PAGE, "An account of the server's").replace("8011", str(server.mapped_port))
    allowed = allowed.replace("9443", str(server.api_port)).replace("ssh-ed25519 AAAA... laptop", laptop.strip())
    (server.folder / "authorized_keys").write_text(allowed)


def _nginx(server: Remote, wechat_url: str) -> Path:
    folder = server.folder
    conf = nginx_config(folder, server.http_port)
    (folder / "shop.conf").unlink()  # no account of its own
    substituted(ROOT / "nginx" / "ports.map", folder / "ports.map", {})
    changes = {
        "127.0.0.1:9443": f"127.0.0.1:{server.api_port}",
        "https://api.weixin.qq.com": wechat_url,
        "Host api.weixin.qq.com": "Host 127.0.0.1",
        "/var/log/nginx/error.log": "stderr",
    }
    (folder / "wechat_api.page").write_text(block(PAGE, "`/etc/nginx/conf.d/wechat_api.conf`"))
    substituted(folder / "wechat_api.page", folder / "wechat_api.conf", changes)
    both = f"include {folder}/wechat.conf; include {folder}/wechat_api.conf;"
    return substituted(conf, conf, {f"include {folder}/wechat.conf;": both})


@contextmanager
def _privilege_folder() -> Iterator[None]:
    """Have the folder without which root's sshd does not start; where sshd is a service, it is there."""
    folder = Path("/run/sshd")
    is_ours = os.geteuid() == 0 and not folder.exists()
    if is_ours:
        folder.mkdir(mode=0o755)
    try:
        yield
    finally:
        if is_ours:
            folder.rmdir()
