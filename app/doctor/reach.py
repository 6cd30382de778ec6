"""Who can reach the callback: asked as WeChat asks, as somebody else asks, and for pages that are nobody else's."""

import random
import secrets
import time
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import requests

from app import place
from app.api.clock import skew_seconds
from app.callback.signature import sign
from app.config import Settings
from app.doctor.finding import Finding, Findings, ok, warning, wrong
from app.errors import ApiError
from app.near import is_this_machine

_TIMEOUT_SECONDS = (3.0, 5.0)
_SKEW_SECONDS = 2.0
_PORTS = (None, 80, 443)
# As a visitor whom a proxy on this machine passes on: without it, the machine itself would ask.
_PASSED_ON = {"X-Forwarded-For": "203.0.113.1"}
# What the machine itself may see. The health of a platform's app may be open.
_INNER_PAGES = ("/metrics", "/console/", "/sandbox/api/cgi-bin/token")
_LOG = "its log has a line 'refused' that says why"
_UNSIGNED = "<xml><MsgType>text</MsgType></xml>"
# What came instead of the answer, and what to do, by status.
_ADVICE = {
    301: ("a redirect, which WeChat does not follow", "enter the address that it leads to on the account's page"),
    404: (
        "404: nginx has no location for this path, or another site of it answers",
        "the URL on the account's page, WECHAT_PATH and nginx's location must be the same",
    ),
    405: ("405: something else answers at this path", "look which server is behind this address"),
    413: ("413: too large", "client_max_body_size 64k in nginx"),
    500: ("500: this is not the service, which never says so", "look which server is behind this address"),
    502: ("502: nginx finds no uWSGI, or may not use its socket", "is it running? {status}"),
    503: ("503: too many at once, or maintenance", "look for 503 in /var/log/nginx/wechat.log, and at limit_conn"),
    504: ("504: the service did not answer in time", "is a thread free? See the lines about uWSGI"),
}


class _Answer(NamedTuple):
    status: int
    body: bytes
    content_type: str
    location: str


def check_reach(settings: Settings, url: str) -> Findings:
    """Yield who can reach the callback at ``url``, which is asked for a few answers; no handler runs."""
    if not url:
        todo = f"{place.command('wechat doctor')} --url http://YOUR-ADDRESS{settings.path}"
        yield warning("reach", "not asked from outside: WECHAT_PUBLIC_URL is not set", todo)
        if not place.installed_account():
            return
        url = f"http://127.0.0.1{settings.path}"
    else:
        yield from _address(settings, url)
    with requests.Session() as http:
        http.trust_env = False  # WeChat comes without a proxy
        try:
            signed = _signed(http, settings, url)
            yield signed
            if signed.status != "ok":
                return
            yield _unsigned(http, url)
            yield from _inner_pages(http, url, settings.path)
        except requests.RequestException as error:
            yield _unreachable(error, url)


def check_clock(settings: Settings, url: str) -> Findings:
    """Yield how far the clocks are apart, this one and WeChat's; or that of ``url``, which may be another machine."""
    if settings.sandbox:
        yield ok("clock", "this machine's own: WeChat is played locally")
        return
    for server in filter(None, (settings.api_base_url, url)):
        try:
            seconds = skew_seconds(server)
        except ApiError as error:
            failure = error
            continue
        found = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {urlsplit(server).hostname}"
        if abs(seconds) > settings.max_skew_seconds / 2:
            most = f"messages signed more than {settings.max_skew_seconds} s away are refused"
            yield wrong("clock", f"{found}; {most}", "sudo timedatectl set-ntp true")
        elif abs(seconds) > _SKEW_SECONDS:
            yield warning("clock", found, "sudo timedatectl set-ntp true")
        else:
            yield ok("clock", f"right to {_SKEW_SECONDS:g} s, by {urlsplit(server).hostname}")
        return
    yield warning(
        "clock", f"not compared: {failure}", "let this machine reach WeChat's API, or compare it yourself: date"
    )


def _address(settings: Settings, url: str) -> Findings:
    parts = urlsplit(url)
    if settings.sandbox:
        return
    if parts.port not in _PORTS:
        found = f"port {parts.port}: WeChat pushes to the ports 80 and 443 alone"
        yield wrong("address", found, "put nginx in front, on port 80 or 443")
    if _is_private(parts.hostname or ""):
        yield warning(
            "address", f"{parts.hostname} is an address that WeChat cannot reach", "name the public one: --url"
        )


def _is_private(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return is_this_machine(host)


def _signed(http: requests.Session, settings: Settings, url: str) -> Finding:
    """Ask what WeChat asks when the page's URL is saved: a signed GET, whose echostr must come back."""
    timestamp, nonce, echostr = str(int(time.time())), str(random.randrange(10**9)), secrets.token_hex(8)  # noqa: S311
    query = {"signature": sign(settings.token, timestamp, nonce), "timestamp": timestamp, "nonce": nonce}
    answer = _ask(http, "GET", url, {**query, "echostr": echostr})
    if answer.status == 200 and answer.body == echostr.encode():
        return ok("signed request", f"{_shown(url)} answers it as WeChat wants")
    found, todo = _judged(answer)
    return wrong("signed request", f"{_shown(url)}: {found}", todo)


def _shown(url: str) -> str:
    """Return the URL without a password that may be in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _judged(answer: _Answer) -> tuple[str, str]:
    status = 301 if 300 <= answer.status < 400 else answer.status
    if status == 403 and answer.body == b"forbidden":
        todo = f"reload the service after a change; {_LOG}"
        return "403: the service that runs has another WECHAT_TOKEN, or another clock", todo
    if status == 403:
        todo = "is this machine on the list that nginx includes, or is there a firewall for sites in front?"
        return "403, and not by the service: nginx or something before it refuses this machine", todo
    if status == 301:
        return f"{_ADVICE[301][0]}: {answer.location.partition('?')[0]}", _ADVICE[301][1]
    if status == 200:
        what = "a page of HTML" if "html" in answer.content_type else "something else than the echostr"
        return f"200 with {what}: this is not the service", "look which site of nginx, or of the provider, answers"
    found, todo = _ADVICE.get(status, (f"status {status}", "look which server is behind this address"))
    return found, todo.format(status=place.status())


def _unsigned(http: requests.Session, url: str) -> Finding:
    answer = _ask(http, "POST", url, {}, _UNSIGNED)
    if answer.status == 403:
        return ok("unsigned request", "refused with 403")
    found = f"answered with status {answer.status} instead of 403"
    return wrong("unsigned request", found, "look which server is behind this address: this service refuses it")


def _inner_pages(http: requests.Session, url: str, path: str) -> Findings:
    """Yield whether pages for this machine's operators are shown to others, as whom this asks."""
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    bases = {origin, origin + path.rstrip("/")}
    if any(_ask(http, "GET", f"{base}/{secrets.token_hex(8)}", headers=_PASSED_ON).status == 200 for base in bases):
        todo = f"look from outside: curl -i {_shown(origin)}/metrics"
        yield warning("inner pages", "not known: this site answers any path with 200", todo)
        return
    pages = [base + page for base in sorted(bases) for page in _INNER_PAGES]
    todo = "take the locations of nginx/account.conf"
    seen = [page for page in pages if _ask(http, "GET", page, headers=_PASSED_ON).status == 200]
    # A proxy that neither says for whom it asks, nor by which name, lets the service take all for this machine. Where
    # the address is one of this machine alone, it is this machine that asks.
    if not seen and not is_this_machine(urlsplit(url).hostname or ""):
        todo += ", or proxy_set_header X-Forwarded-For $remote_addr; in those that pass it on"
        seen = [page for page in pages if _ask(http, "GET", page).status == 200]
    if seen:
        yield wrong("inner pages", f"others see {', '.join(map(_shown, seen))}", todo)
    else:
        yield ok("inner pages", "figures, console and sandbox are not shown to others")


def _ask(
    http: requests.Session,
    method: str,
    url: str,
    query: dict[str, str] | None = None,
    body: str | None = None,
    headers: dict[str, str] | None = None,
) -> _Answer:
    response = http.request(
        method, url, params=query, data=body, headers=headers, timeout=_TIMEOUT_SECONDS, allow_redirects=False
    )
    kind, location = response.headers.get("Content-Type", ""), response.headers.get("Location", "")
    return _Answer(response.status_code, response.content, kind, location)


def _unreachable(error: requests.RequestException, url: str) -> Finding:
    host = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(error, requests.exceptions.SSLError):
        todo = "nginx needs the certificate with its intermediates: nginx/tls.conf"
        return wrong("signed request", f"{host}: its certificate is not one that WeChat would trust", todo)
    if isinstance(error, requests.Timeout):
        found = f"{host} does not answer in time"
    elif "resolve" in str(error).lower():
        return wrong("signed request", f"{host}: no such name", "look at the domain's records: dig +short")
    else:
        found = f"{host} cannot be reached ({type(error).__name__})"
    todo = "is nginx running, and do the security group and ufw let port 80 in? curl -i from another machine tells"
    return wrong("signed request", found, todo)
