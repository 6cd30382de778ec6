"""Port 443 beside 80, with nginx/tls.conf as it is shipped."""

import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.sandbox.messages import text_message
from tests.accounts.machine import OPENID, Machine
from tests.servers import ROOT, free_port, program, substituted, wait_for

HOST = "wx.example.com"
OLD_PROTOCOLS = ["-tls1", "-tls1_1"]
# With the protocol, so that it is the cipher that is refused: without forward secrecy, or in CBC mode.
WEAK_CIPHERS = ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384"]


def make_certificate(folder: Path) -> None:
    """Write a certificate for HOST and its key, as a renewal does."""
    names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    command = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names, *files]
    subprocess.run(command, check=True, capture_output=True)


class Site:
    """A machine that serves TLS on ``port``."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.port, self._folder = machine, free_port(), machine.folder
        make_certificate(self._folder)
        paths = {
            "listen [::]:443 ssl http2 default_server;\n": "",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "/etc/ssl/wechat/": f"{self._folder}/",
        }
        substituted(ROOT / "nginx" / "tls.conf", machine.site / "tls.conf", paths)
        machine.reload()

    def ask(self, *options: str) -> str:
        """Return what ``openssl s_client`` says of a connection; "" where there is none."""
        connect = ["s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", HOST]
        done = subprocess.run(
            [program("openssl"), *connect, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""

    def connection(self, *protocols: str) -> ssl.SSLSocket:
        """Return a connection that trusts the certificate and no other."""
        context = ssl.create_default_context(cafile=self._folder / "fullchain.pem")
        context.set_alpn_protocols(protocols)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port)), server_hostname=HOST)


@pytest.fixture
def site(machine: Machine) -> Site:
    return Site(machine)


def test_wechat_is_answered_on_both_ports(site: Site) -> None:
    (shop,) = site.machine.add("shop")
    with shop.fan() as plain, shop.fan() as sealed:
        sealed._url = f"https://127.0.0.1:{site.port}/wechat/shop"
        sealed._http.verify = False
        with pytest.warns(match="Unverified HTTPS request"):
            assert sealed.deliver(text_message(OPENID, "over TLS"))[:3] == ("over TLS", True, 1)
        assert plain.deliver(text_message(OPENID, "plain")).shown == "plain"


@pytest.mark.parametrize(("offered", "chosen"), [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None)])
def test_http_2_is_chosen_where_the_browser_offers_it(site: Site, offered: tuple[str, ...], chosen: str) -> None:
    with site.connection(*offered) as connection:
        assert connection.selected_alpn_protocol() == chosen


def test_http_2_is_spoken(site: Site) -> None:
    url = f"https://127.0.0.1:{site.port}/wechat/nobody"
    command = [program("curl"), "--insecure", "--silent", "--http2", "--output", "/dev/null"]
    done = subprocess.run(
        [*command, "--write-out", "%{http_version} %{http_code}", url], capture_output=True, check=True
    )
    assert done.stdout == b"2 404"


@pytest.mark.parametrize("protocol", ["-tls1_2", "-tls1_3"])
def test_the_protocols_of_today_are_spoken(site: Site, protocol: str) -> None:
    assert "Cipher is " in site.ask(protocol)


# At this level of security, openssl itself would speak them.
@pytest.mark.parametrize("protocol", OLD_PROTOCOLS)
def test_older_protocols_are_refused(site: Site, protocol: str) -> None:
    assert site.ask(protocol, "-cipher", "ALL:@SECLEVEL=0") == ""


@pytest.mark.parametrize("cipher", WEAK_CIPHERS)
def test_ciphers_without_forward_secrecy_or_authentication_are_refused(site: Site, cipher: str) -> None:
    assert site.ask("-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0") == ""


def test_a_session_is_remembered_by_the_server_and_not_in_a_ticket(site: Site) -> None:
    said = site.ask("-tls1_2")
    assert "TLS session ticket" not in said
    assert "Session-ID: " in said


def test_no_header_binds_a_browser_to_https(site: Site) -> None:
    command = [program("curl"), "--insecure", "--silent", "--include", f"https://127.0.0.1:{site.port}/wechat/shop"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.lower()
    assert "http/2 404" in said
    assert "strict-transport-security" not in said


def test_a_renewed_certificate_is_served_after_a_reload(site: Site, make_machine: Callable[..., Machine]) -> None:
    with site.connection() as before:
        old = before.getpeercert(binary_form=True)
    make_certificate(site.machine.folder)
    site.machine.reload()
    with wait_for(site.connection) as after:  # trusts the new one only
        assert after.getpeercert(binary_form=True) != old
