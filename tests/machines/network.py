"""Machines that are network namespaces of this one, on one bridge of their own."""

import os
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

_BRIDGE = "machines"
_NETWORK = "10.213.0"
_NAMES = Path("/run/netns")
HERE = f"{_NETWORK}.1"
"""The address on the bridge of the namespace in which the machines are made."""
# Namespaces for all that is made here: when who started it ends, or the first process in them, the kernel ends the
# others and takes away networks and names. So nothing is left, whatever happens, and no test sees another's machines.
_APART = ["setpriv", "--pdeathsig", "KILL", "unshare"]
_APART += ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def apart(command: list[str]) -> list[str]:
    """Return the command that runs ``command`` where machines can be made; that takes root, or sudo."""
    return [*([] if os.geteuid() == 0 else ["sudo", "-n", "-E"]), *_APART, *command]


class Machine(NamedTuple):
    """A machine with an address on the bridge; ``prefix`` comes before a command that runs on it."""

    name: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    @property
    def pids(self) -> set[int]:
        """All processes that run on it."""
        return {int(pid) for pid in _ip("netns", "pids", self.name).split()}

    def kill(self) -> None:
        """End all of its processes with SIGKILL; those who talk to them are told by the kernel."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)

    def cut(self) -> None:
        """Let nothing reach it or leave it any more; nobody is told."""
        _ip("link", "set", self.name, "down")

    def mend(self) -> None:
        _ip("link", "set", self.name, "up")


def make_bridge() -> None:
    """Make the bridge, in namespaces of ``apart``."""
    _NAMES.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(_NAMES)], check=True)  # the names are ours alone, too
    _ip("link", "set", "lo", "up")
    _ip("link", "add", _BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{HERE}/24", "dev", _BRIDGE)
    _ip("link", "set", _BRIDGE, "up")


def make_machine(name: str, number: int) -> Machine:
    """Make a machine with the address that ends with ``number``."""
    machine = Machine(name, f"{_NETWORK}.{number}")
    _ip("netns", "add", name)
    _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", name, "master", _BRIDGE, "up")
    _ip("-n", name, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "up")
    _ip("-n", name, "link", "set", "lo", "up")
    return machine


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}; this needs root, and tests.machines.network")
    return done.stdout
