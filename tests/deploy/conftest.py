"""A machine on which one account, shop, is installed the way the README says."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.bot import bot
from tests.deploy.machine import Done, Machine
from tests.servers import ROOT, TOKEN, environment

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "tests", "run", "instance"
)
PYTHON = "/usr/bin/python3"


class Host:
    """A machine with this checkout at /srv/share/source, and what ops do there."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.share = machine, machine.share
        self.run, self.sh = machine.run, machine.sh
        self.source, self._as_it_is = self.share / "source", self.share / "as-it-is"
        shutil.copytree(ROOT, self._as_it_is, ignore=_LEFT_OUT)

    def fresh_source(self) -> None:
        """Put this checkout there again, as it was at first."""
        shutil.rmtree(self.source, ignore_errors=True)
        shutil.copytree(self._as_it_is, self.source)

    def make(self, *arguments: str, **environ: str) -> Done:
        """Run ``make`` in the checkout, without a network: packages come from the folder of wheels."""
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/share/wheels", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return self.run("make", "-C", "/srv/share/source", *arguments, **pip, **environ)

    def install(self, *arguments: str, account: str = "shop", **environ: str) -> Done:
        return self.make("install", f"ACCOUNT={account}", *arguments, **environ)

    def say(self, text: str, account: str = "shop") -> str:
        """Say something as a fan through nginx, and return what the fan sees."""
        return self.sh(f"wechat {account} say '{text}' 2>/srv/share/said-beside || cat /srv/share/said-beside").strip()

    @property
    def running(self) -> tuple[str, str, set[str]]:
        """The release of shop that is current, the master's process id and the workers'."""
        current, master = self.sh("readlink /opt/wechat/shop/current; systemctl show -P MainPID wechat@shop").split()
        return current, master, set(self.sh(f"cat /proc/{master}/task/{master}/children").split())

    @contextmanager
    def traffic(self) -> Iterator[dict[str, int]]:
        """Let fans write to shop meanwhile; afterwards the dict holds what they saw."""
        until, seen = self.share / "until", dict[str, int]()
        until.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.deploy.traffic", "http://127.0.0.1/wechat/shop", TOKEN, str(until)]
        entered = self.machine.entered(*command, only="--net")
        fans = subprocess.Popen(entered, stdout=subprocess.PIPE, cwd=ROOT, env=environment(), text=True)
        try:
            yield seen
        finally:
            until.touch()
            said, _ = fans.communicate()
        seen |= json.loads(said)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What requirements.txt names, built once for a checkout: tests download nothing afterwards."""
    wanted, folder = (ROOT / "requirements.txt").read_text(), ROOT / ".venv" / "wheels"
    made = folder / "made-for"
    if not made.exists() or made.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv = tmp_path_factory.mktemp("wheels") / "venv"
        subprocess.run([PYTHON, "-m", "venv", str(venv)], check=True)
        pip = [f"{venv}/bin/python", "-m", "pip", "--quiet", "wheel", "--wheel-dir", str(folder)]
        subprocess.run([*pip, "-r", str(ROOT / "requirements.txt")], check=True)
        made.write_text(wanted)
    return folder


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Host]:
    """A machine on which nothing is installed yet."""
    with Machine(tmp_path_factory.mktemp("machine")) as machine:
        shutil.copytree(wheels, machine.share / "wheels")
        host = Host(machine)
        host.fresh_source()
        yield host


@pytest.fixture(scope="session")
def installed(host: Host) -> Done:
    """What the first installation of shop said, with a bot of its own."""
    bot(host.share, "1.0")
    settings = {"WECHAT_TOKEN": TOKEN, "WECHAT_HANDLERS": "mybot.handlers"}
    done = host.install("BOT=/srv/share/mybot-1.0-py3-none-any.whl", **settings)
    assert done.status == 0, done.said
    return done


@pytest.fixture
def shop(host: Host, installed: Done) -> Host:
    """The machine with shop on it, and the checkout as it is."""
    host.fresh_source()
    return host


@pytest.fixture
def same_bot(shop: Host) -> str:
    """The BOT= of the version that runs."""
    said = shop.sh("cat /opt/wechat/shop/current/.bot")
    return f"BOT={said.strip()}"
