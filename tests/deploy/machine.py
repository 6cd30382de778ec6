"""A machine of its own for the installer: this one's programs, its own systemd, users, disk and network."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.servers import Server, program, wait_for

# What is written goes to memory; what is installed here, or wanted at the start, is not there.
_BOOT = """
set -e
mount -t tmpfs -o size=4G none "$1"
mkdir "$1"/upper "$1"/work "$1"/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
# There is no network to wait for.
ln -sf /dev/null etc/systemd/system/systemd-networkd-wait-online.service
rm -rf etc/machine-id etc/systemd/system/*.wants {etc,opt,var/lib,var/log}/wechat etc/nginx/wechat etc/nginx/conf.d/*
exec "$2" --directory . --boot --register=no --keep-unit --private-network --link-journal=no --console=pipe \
  --machine="$3" --bind="$4:/srv/share" systemd.unit=basic.target
"""


class Done(NamedTuple):
    """What came of a command; ``said`` is both of its streams."""

    status: int
    said: str


class Machine:
    """Runs while its context is entered; ``share`` is /srv/share there."""

    def __init__(self, folder: Path) -> None:
        self.share, self._disk = folder / "share", folder / "disk"
        self.share.mkdir()
        self._disk.mkdir()
        self._name = f"wechat-{os.getpid()}"
        names = [str(self._disk), program("systemd-nspawn"), self._name, str(self.share)]
        self._nspawn = Server(["unshare", "--mount", "bash", "-c", _BOOT, "boot", *names], folder, os.environ)

    def __enter__(self) -> "Machine":
        self._nspawn.wait_until(self._find_init)
        self._nspawn.wait_until(lambda: self.run("systemctl", "is-active", "basic.target").status == 0)
        return self

    def _find_init(self) -> bool:
        pid = self._nspawn.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(OSError):  # one of the script's, gone by now
                if "\nNSpid:\t" + child + "\t1\n" in Path(f"/proc/{child}/status").read_text():
                    self._init = int(child)
                    return True
        return False

    def __exit__(self, *_: object) -> None:
        os.kill(self._init, signal.SIGKILL)  # and with it all that runs there
        wait_for(lambda: self._nspawn.process.poll() is not None, what="the end of the machine")
        for group in ("payload", "supervisor"):  # nspawn's, empty now; a parent comes before what is in it
            for folder in sorted(Path("/sys/fs/cgroup").glob(f"**/{group}/**/"), reverse=True):
                with suppress(OSError):
                    folder.rmdir()
        with suppress(OSError):
            Path("/run/systemd/nspawn/propagate", self._name).rmdir()

    def run(self, *command: str, **environ: str) -> Done:
        """Run ``command`` there, as root."""
        done = subprocess.run(
            self.entered(*command),
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"} | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        return Done(done.returncode, done.stdout)

    def entered(self, *command: str, only: str = "--all") -> list[str]:
        """Return ``command`` as it is run from outside; with ``only="--net"``, from the files and users of here."""
        return ["nsenter", f"--target={self._init}", only, "--", *command]

    def sh(self, script: str) -> str:
        """Run a line of shell there, and return what it said. Raises AssertionError where it failed."""
        done = self.run("bash", "-euo", "pipefail", "-c", script)
        assert done.status == 0, done.said
        return done.said
