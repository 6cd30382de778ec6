"""Who may call: WeChat's addresses in nginx, by the timer's own commands, alone and behind a load balancer."""

import json
import os
import re
import secrets
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from pwd import getpwnam
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from app.callback.signature import sign
from tests.e2e.conftest import nginx_config
from tests.servers import ROOT, TOKEN, Server, environment, free_port, listens, program, substituted, uwsgi, wait_for
from tests.wechat_server import WeChatServer, wechat_server

# On loopback, anybody can come from any of these.
WECHAT, STRANGER, BALANCER = "127.0.0.9", "127.0.0.8", "127.0.0.7"
DEPLOY = ROOT / "deploy"


class Front(NamedTuple):
    """A site whose nginx reads what ``folder`` holds: ``shop.d/callers.conf`` and ``shop_real_ip.conf``."""

    port: int
    folder: Path
    account: Path  # its own folder, /var/lib/wechat/shop
    server: WeChatServer
    env: dict[str, str]

    def get(self, page: str, caller: str, **headers: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5, source_address=(caller, 0))
        connection.request("GET", page, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        connection.close()
        return response.status, response.read().decode(errors="replace")

    def ask(self, caller: str, **headers: str) -> int:
        """Return the status of the request that WeChat makes for the account's page, from this address."""
        timestamp, nonce = str(int(time.time())), secrets.token_hex(4)
        signed = f"signature={sign(TOKEN, timestamp, nonce)}&timestamp={timestamp}&nonce={nonce}"
        return self.get(f"/wechat?{signed}&echostr=hello", caller, **headers)[0]

    def reload(self) -> None:
        subprocess.run([program("nginx"), "-s", "reload", *self.nginx], check=True, capture_output=True)

    @property
    def nginx(self) -> list[str]:
        return ["-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder, port = tmp_path_factory.mktemp("front"), free_port()
    conf, inside = nginx_config(folder, port), folder / "run" / "uwsgi.sock"
    moved = {str(folder / "uwsgi.sock"): str(inside)}
    substituted(folder / "shop.conf", folder / "shop.conf", moved)
    (folder / "shop.d").mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(wechat_server(folder))
        database = {"WECHAT_DATABASE_URL": f"sqlite:///{folder}/wechat.db"}
        env = environment(**server.settings, **database, WECHAT_PUBLIC_URL=f"http://127.0.0.1:{port}")
        subprocess.run([program("flask"), "db", "upgrade"], cwd=folder, env=env | {"FLASK_APP": "app"}, check=True)
        stack.enter_context(uwsgi(folder, env, socket_path=inside))
        nginx = Server([program("nginx"), "-p", str(folder), "-c", str(conf)], folder, env)
        stack.callback(nginx.stop)
        nginx.wait_until(lambda: listens(port))
        account = Path(stack.enter_context(TemporaryDirectory()))
        account.chmod(0o755)  # for the account's user, who does not come into root's folders
        yield Front(port, folder, account, server, env)


@pytest.fixture
def front(running: Front) -> Iterator[Front]:
    """The site as it is shipped, without an allow list or a balancer."""
    yield running
    here = running.folder
    files = [*here.glob("shop.d/*"), *here.glob("shop_real_ip.conf"), *running.account.iterdir()]
    for file in files:
        file.unlink()
    running.server.wechat.heal()
    running.reload()
    wait_for(lambda: running.ask(STRANGER) == 200, what="the nginx without a list")


def in_shell(front: Front, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("flask"), "--app", "app", "wechat", *arguments]
    return subprocess.run(command, cwd=front.folder, env=front.env, capture_output=True, text=True)


def refreshed(front: Front) -> tuple[int, int]:
    """Run the two commands of the unit, and return their exit statuses; the second only after the first."""
    first = commands(front)[0]
    assert first == f"/usr/local/bin/wechat shop ips --format nginx --output {front.account}/callers.conf"
    asked = in_shell(front, *first.split()[2:]).returncode
    return asked, asked or given_to_nginx(front)


def given_to_nginx(front: Front) -> int:
    """Run the unit's second command, which is root's, and return its exit status."""
    return subprocess.run(roots(front), capture_output=True).returncode


def roots(front: Front) -> list[str]:
    """Return the unit's second command, for which nobody is the account; without root's rights, who runs the test."""
    script = re.fullmatch(r"/bin/sh -euc '(.*)'", commands(front)[1], re.DOTALL)
    assert script
    as_account, nobody = "setpriv --reuid wechat-shop --regid wechat-shop --init-groups ", getpwnam("nobody")
    assert as_account in script[1]
    by = f"setpriv --reuid {nobody.pw_uid} --regid {nobody.pw_gid} --init-groups " if os.geteuid() == 0 else ""
    text = script[1].replace("$$", "$").replace("nginx -", f"{program('nginx')} {' '.join(front.nginx)} -")
    return ["/bin/sh", "-euc", text.replace(as_account, by)]


def commands(front: Front) -> list[str]:
    """Return what the unit runs for the account shop, with its paths in the folder of the test."""
    unit = (DEPLOY / "wechat-ips@.service").read_text().replace("\\\n", " ").replace("%i", "shop")
    here = {"/var/lib/wechat/shop": front.account, "/etc/nginx/wechat/shop.d": front.folder / "shop.d"}
    for installed, folder in here.items():
        unit = unit.replace(installed, str(folder))
    return re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)


def test_without_a_list_everybody_may_call(front: Front) -> None:
    assert (front.ask(WECHAT), front.ask(STRANGER)) == (200, 200)


def test_the_timer_lets_wechat_in_and_nobody_else(front: Front) -> None:
    front.server.wechat.set(push_addresses=[WECHAT, "127.0.0.16/28"])
    (front.folder / "shop.d" / "callers.conf").touch()
    assert refreshed(front) == (0, 0)
    wait_for(lambda: front.ask(STRANGER) == 403, what="the list")
    assert front.ask(WECHAT) == front.ask("127.0.0.17") == front.ask("127.0.0.1") == 200
    assert front.get("/jssdk", STRANGER)[0] != 403  # fans' pages are everybody's
    # WeChat moves: nobody need do anything.
    front.server.wechat.set(push_addresses=[STRANGER, "127.0.0.16/28"])
    assert refreshed(front) == (0, 0)
    wait_for(lambda: front.ask(STRANGER) == 200, what="the new list")
    wait_for(lambda: front.ask(WECHAT) == 403, what="the end of nginx's older workers")


def test_a_refresh_that_fails_leaves_the_list_as_it_was(front: Front) -> None:
    front.server.wechat.set(push_addresses=[WECHAT, "127.0.0.16/28"])
    callers = front.folder / "shop.d" / "callers.conf"
    callers.touch()
    assert refreshed(front) == (0, 0)
    before = callers.read_bytes()
    assert stat.S_IMODE(callers.stat().st_mode) == 0o644
    front.server.wechat.fail("/cgi-bin/getcallbackip", "html")
    assert refreshed(front)[0] == 1
    front.server.wechat.heal()
    front.server.wechat.set(push_addresses=[])
    assert refreshed(front)[0] == 1
    # What the account's user puts there is not what root gives nginx, and what nginx refuses is taken back.
    no_lists = ("", "allow 127.0.0.8;\n", "root /;\ndeny all;\n", "allow all;\ndeny all;\n", "deny all; root /;\n")
    for forged in (*no_lists, "allow 1.2.3.4.5;\ndeny all;\n"):
        (front.account / "callers.conf").write_text(forged)
        assert given_to_nginx(front) == 1
        assert callers.read_bytes() == before
    assert front.ask(WECHAT) == 200


def test_root_takes_nothing_that_the_account_itself_may_not_read(front: Front) -> None:
    listed, secret = with_a_list(front), front.folder / "secret"
    before = listed.read_bytes()
    secret.write_text("# a neighbour's, which happens to look like a list\ndeny all;\n")
    secret.chmod(0)
    (front.account / "callers.conf").symlink_to(secret)
    assert given_to_nginx(front) == 1
    assert [file.name for file in listed.parent.iterdir()] == ["callers.conf"]
    assert listed.read_bytes() == before


def test_what_is_not_yet_looked_at_is_for_root_alone_and_goes_away(front: Front) -> None:
    listed, pipe = with_a_list(front), front.account / "callers.conf"
    new = listed.with_name("callers.conf.new")
    new.write_text("of a refresh that was cut off")
    new.chmod(0o644)
    os.mkfifo(pipe, 0o644)
    os.chmod(pipe, 0o644)
    with subprocess.Popen(roots(front), stderr=subprocess.DEVNULL) as running:
        with pipe.open("w") as writing:  # opens when it is read
            wait_for(lambda: new.exists() and new.stat().st_size == 0, what="the copy")
            assert stat.S_IMODE(new.stat().st_mode) == 0o600
            writing.write("WECHAT_TOKEN=of somebody else\n")
        assert running.wait() == 1
    assert [file.name for file in listed.parent.iterdir()] == ["callers.conf"]


def with_a_list(front: Front) -> Path:
    callers = front.folder / "shop.d" / "callers.conf"
    callers.write_text(f"allow {WECHAT};\ndeny all;\n")
    front.reload()
    wait_for(lambda: front.ask(STRANGER) == 403, what="the list")
    return callers


def test_behind_a_balancer_the_caller_counts_and_a_spoofed_header_does_not(front: Front) -> None:
    real = {"192.0.2.10": BALANCER, "192.0.2.11": "127.0.0.6"}
    substituted(ROOT / "nginx" / "real_ip.conf", front.folder / "shop_real_ip.conf", real)
    with_a_list(front)
    assert front.ask(BALANCER, X_Forwarded_For=WECHAT) == 200
    assert front.ask(BALANCER, X_Forwarded_For=STRANGER) == 403
    assert front.ask(BALANCER, X_Forwarded_For=f"{STRANGER}, {WECHAT}, 127.0.0.6") == 200  # two balancers in a row
    assert front.ask(BALANCER, X_Forwarded_For=f"{WECHAT}, {STRANGER}") == 403  # the caller sent a header himself
    assert front.ask(STRANGER, X_Forwarded_For=WECHAT) == 403
    assert front.ask(WECHAT, X_Forwarded_For=STRANGER) == 200


def test_the_operators_pages_stay_closed_for_what_a_balancer_passes_on(front: Front) -> None:
    real = {"192.0.2.10": BALANCER, "192.0.2.11": "127.0.0.1"}  # also one on this machine itself
    assert front.get("/metrics", "127.0.0.1")[0] == 200
    assert front.get("/metrics", "127.0.0.1", Host="wx.example.com")[0] == 404  # as the doctor asks
    substituted(ROOT / "nginx" / "real_ip.conf", front.folder / "shop_real_ip.conf", real)
    front.reload()
    wait_for(lambda: f" {WECHAT} " in f" {seen(front)} ", what="the caller in the log")
    for page in ("/metrics", "/healthz", "/readyz", "/console/", "/sandbox/"):
        for balancer in (BALANCER, "127.0.0.1"):
            assert front.get(page, balancer, X_Forwarded_For="127.0.0.1")[0] == 404
            assert front.get(page, balancer, X_Forwarded_For=WECHAT)[0] == 404


def seen(front: Front) -> str:
    """Return the address that nginx logs for a request of WeChat that a balancer passes on."""
    front.ask(BALANCER, X_Forwarded_For=WECHAT)
    return (front.folder / "access.log").read_text().splitlines()[-1].split()[0]


def test_the_doctor_looks_at_the_whole_site(front: Front) -> None:
    front.server.wechat.set(push_addresses=["101.226.62.77"])
    arguments = ["doctor", "--json", "--nginx", str(front.folder / "nginx.conf")]
    result = in_shell(front, *arguments)
    statuses = statuses_of(result.stdout)
    assert statuses["address"] == ["wrong", "warning"]  # neither port 80 nor reachable
    unwell = {name for name, found in statuses.items() if found.count("ok") < len(found)}
    assert unwell == {"address", "token", "encryption", "public address"}
    asked = {"nginx", "nginx time-out", "uWSGI", "uWSGI cache", "nginx connections", "socket", "cache", "database"}
    assert asked | {"clock", "signed request", "unsigned request", "inner pages", "callers"} <= set(statuses)
    assert result.returncode == 2
    (front.folder / "shop.d" / "callers.conf").write_text("allow 127.0.0.1;\ndeny all;\n")
    assert statuses_of(in_shell(front, *arguments).stdout)["callers"] == ["wrong"]


def statuses_of(output: str) -> dict[str, list[str]]:
    statuses: dict[str, list[str]] = {}
    for finding in json.loads(output):
        statuses.setdefault(finding["name"], []).append(finding["status"])
    return statuses


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    wechat = {"/usr/local/bin/wechat": program("true")}
    for kind in ("service", "timer"):
        unit = DEPLOY / f"wechat-ips@.{kind}"
        substituted(unit, tmp_path / unit.name, wechat if kind == "service" else {})
    units = [str(tmp_path / f"wechat-ips@.{kind}") for kind in ("service", "timer")]
    tried = subprocess.run([program("systemd-analyze"), "verify", *units], capture_output=True, text=True)
    assert (tried.returncode, tried.stderr) == (0, "")
