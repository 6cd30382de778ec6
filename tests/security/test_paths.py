"""Pages for operators are for nobody else, however they are spelled; and nobody tells nginx who they are."""

import time
from urllib.parse import quote

import pytest

from tests.security.conftest import PATH, Site
from tests.security.raw import OPERATOR, OUTSIDER, Answer, exchange, request

PAGES = ["healthz", "readyz", "metrics", "console/", "console/login", "sandbox/", "sandbox/api/cgi-bin/token"]
PUBLIC = {("", PATH), (PATH, "/oauth/login"), (PATH, "/oauth/callback"), (PATH, "/jssdk")}


def every_letter(text: str) -> str:
    return "".join(f"%{ord(letter):02x}" for letter in text)


def spellings(page: str) -> list[str]:
    """Return ways to write the path of ``page``, of which some are the page itself to nginx, and some are not."""
    first, _, rest = page.partition("/")
    return [
        f"{PATH}/{page}",
        f"{PATH}//{page}",
        f"/{PATH}/./{page}",
        f"{PATH}/oauth/../{page}",
        f"{PATH}/oauth/login/../../{page}",
        f"{PATH}/x/%2e%2e/{page}",
        f"{PATH}/x/.%2e/{page}",
        f"{PATH}/jssdk/..;/{page}",
        f"{PATH}/..%2f..{PATH}/{page}",
        f"{PATH}%2f{page}",
        f"{PATH}%252f{page}",
        f"{PATH}%5c{page}",
        f"{PATH}\\{page}",
        f"{PATH}/{every_letter(page)}",
        f"{PATH}/{quote(every_letter(page))}",
        f"{PATH}/{first.upper()}/{rest}",
        f"{PATH}/{first};x=1/{rest}",
        f"{PATH}/{page}%0a",
        f"{PATH}/{page}%0d%0a",
        f"{PATH}/{page}%00",
        f"{PATH}/{page}%20",
        f"{PATH}/{page}/.",
        f"{PATH}/{page}?/oauth/login",
        f"{PATH}/{page}#/oauth/login",
        f"{PATH}/{page}%3f/oauth/login",
        f"{PATH}/oauth/login/{page}",
        f"{PATH}?/{page}",
        f"{PATH}#/{page}",
        f"http://127.0.0.1{PATH}/{page}",
        f"http://localhost{PATH}/{page}",
        f"http://x/..{PATH}/{page}",
        f"uwsgi://127.0.0.1{PATH}/{page}",
        f"/{page}",
        f"//{page}",
        f"//127.0.0.1{PATH}/{page}",
        f"/wechat/{page}",
        f"/wechat/other/..{PATH[7:]}/{page}",
        f"/wechat8011/../wechat/shop/{page}",
        f"{PATH[1:]}/{page}",
        f"{PATH}/\u00b7/../{page}",
        f"{PATH}/%c0%ae%c0%ae/{page}",
        f"{PATH}/%u002e%u002e/{page}",
    ]


HEADERS = [
    ["X-Forwarded-For: 127.0.0.1"],
    ["X-Forwarded-For: ", "X-Forwarded-For: 127.0.0.1"],
    ["X-Real-IP: 127.0.0.1", "X-Client-IP: 127.0.0.1", "True-Client-IP: 127.0.0.1", "X-Forwarded-Host: localhost"],
    ["Forwarded: for=127.0.0.1;host=localhost"],
    ["IS_NEAR: 1"],
    ["Is-Near: 1", "HTTP_IS_NEAR: 1", "HTTP-IS-NEAR: 1"],
    ["REMOTE_ADDR: 127.0.0.1", "Remote-Addr: 127.0.0.1"],
    ["Connection: close, X-Forwarded-For"],
]


def reached(answers: list[Answer]) -> list[tuple[str, str]]:
    """Return what of the application was reached, as (SCRIPT_NAME, PATH_INFO)."""
    seen = [answer.seen for answer in answers if answer.seen is not None]
    assert [told for told in seen if "IS_NEAR" in told] == []
    return [(told.get("SCRIPT_NAME", ""), told["PATH_INFO"]) for told in seen]


@pytest.mark.parametrize("page", PAGES)
def test_no_spelling_leads_an_outsider_to_a_page_of_the_operator(site: Site, page: str) -> None:
    for target in spellings(page):
        for method in ("GET", "POST", "HEAD"):
            answers = exchange(site.port, request(target.encode(), method=method))
            assert set(reached(answers)) <= PUBLIC, target
            assert answers, target
    mine = exchange(site.port, request(f"{PATH}/{page}", host="localhost"), OPERATOR)[0].seen or {}
    assert (mine.get("IS_NEAR"), mine.get("PATH_INFO")) == ("1", f"/{page}")


@pytest.mark.parametrize("headers", HEADERS, ids=" ".join)
def test_no_header_makes_an_outsider_an_operator(site: Site, headers: list[str]) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]"):
        for page in PAGES:
            (answer,) = exchange(site.port, request(f"{PATH}/{page}", *headers, host=host))
            assert (answer.status, answer.seen) == (404, None)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("rebound.example", 404),
        ("localhost.example", 404),
        ("127.0.0.1.example:80", 404),
    ],
)
def test_a_name_that_somebody_leads_to_this_machine_is_not_its_own(site: Site, host: str, status: int) -> None:
    (answer,) = exchange(site.port, request(f"{PATH}/metrics", host=host), OPERATOR)
    assert (answer.status, answer.seen is None) == (status, status == 404)


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7", "X-Real-IP: 203.0.113.7", "Via: 1.1 tunnel"],
)
def test_what_a_proxy_on_this_machine_passes_on_is_an_outsiders(site: Site, header: str) -> None:
    (answer,) = exchange(site.port, request(f"{PATH}/metrics", header, host="localhost"), OPERATOR)
    assert (answer.status, answer.seen) == (404, None)


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-HTTP-Method-Override"])
def test_no_header_is_taken_for_the_path_or_the_method(site: Site, name: str) -> None:
    (answer,) = exchange(site.port, request(f"{PATH}/jssdk", f"{name}: {PATH}/metrics"))
    assert reached([answer]) == [(PATH, "/jssdk")]
    assert answer.seen is not None
    assert answer.seen["REQUEST_METHOD"] == "GET"


@pytest.mark.parametrize("joint", ["_", "-"])
def test_what_nginx_tells_uwsgi_cannot_be_said_by_a_header(site: Site, joint: str) -> None:
    told = {"RECEIVED_AT": "1", "IS_NEAR": "1", "SCRIPT_NAME": "/x", "PATH_INFO": "/metrics", "REMOTE_ADDR": "::1"}
    headers = [f"{name.replace('_', joint)}: {value}" for name, value in told.items()]
    (answer,) = exchange(site.port, request(PATH, *headers, "UWSGI_FILE: /tmp/x.py", "UWSGI-FILE: /tmp/x.py"))
    assert reached([answer]) == [("", PATH)]
    assert answer.seen is not None
    assert answer.seen["REMOTE_ADDR"] == OUTSIDER
    assert abs(float(answer.seen["RECEIVED_AT"]) - time.time()) < 5


@pytest.mark.parametrize(
    "data",
    [
        f"GET {PATH}/metrics HTTP/1.1\r\n\r\n",
        f"GET {PATH}/metrics HTTP/1.1\r\nHost: localhost\r\nHost: x\r\n\r\n",
        f"GET {PATH}/metrics HTTP/1.1\r\nHost: localhost\x00\r\n\r\n",
        f"GET {PATH}/metrics HTTP/1.1\r\nHost: local host\r\n\r\n",
        f"GET {PATH}/metrics HTTP/1.1\r\nHost : localhost\r\n\r\n",
        f"GET {PATH}/metrics HTTP/1.1\nHost: localhost\nConnection: close\n\n",
        f"GET {PATH}/metrics HTTP/1.0\r\n\r\n",
        f"GET {PATH}/metrics\r\n",
        f"GET {PATH}/metrics HTTP/1.1\r\n Host: localhost\r\n\r\n",
        f"GET {PATH}/metrics HTTP/2.0\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        f"GET\t{PATH}/metrics\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET {PATH}/metrics HTTP/1.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        f"PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\nGET {PATH}/metrics HTTP/1.0\r\n\r\n",
    ],
)
def test_no_odd_request_line_or_host_gets_past_nginx(site: Site, data: str) -> None:
    before = site.asked
    exchange(site.port, data.encode("latin-1"))
    assert site.asked == before
