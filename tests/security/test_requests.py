"""Requests in which another one hides, and requests that are longer than they say or than they may be."""

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from app.sandbox.messages import text_message
from tests.security.conftest import OPENID, PATH, Site
from tests.security.raw import Answer, connect, exchange, first_answer, received, request
from tests.servers import environment, free_port, uwsgi

LIMIT_BYTES = 65536


def signed(site: Site, text: str) -> tuple[str, bytes]:
    """Return the target and the body of a message as WeChat sends it."""
    with site.phone() as fan:
        query, body = fan.envelope(text_message(OPENID, text))
    return f"{PATH}?{urlencode(query)}", body


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


AMBIGUOUS = {
    "CL.TE": ["Content-Length: {length}", "Transfer-Encoding: chunked"],
    "TE.CL": ["Transfer-Encoding: chunked", "Content-Length: 4"],
    "TE with a tab": ["Content-Length: {length}", "Transfer-Encoding:\tchunked"],
    "TE with a space before the colon": ["Content-Length: {length}", "Transfer-Encoding : chunked"],
    "TE twice": ["Content-Length: {length}", "Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
    "TE of something": ["Content-Length: {length}", "Transfer-Encoding: xchunked"],
    "TE with an underscore": ["Content-Length: {length}", "Transfer_Encoding: chunked"],
    "TE folded": ["Content-Length: {length}", "Transfer-Encoding:\r\n chunked"],
    "CL twice": ["Content-Length: 0", "Content-Length: {length}"],
    "CL with a sign": ["Content-Length: +0"],
    "CL negative": ["Content-Length: -1"],
    "CL in hexadecimal": ["Content-Length: 0x0"],
    "CL as a list": ["Content-Length: 0, {length}"],
}


def with_another_inside(site: Site, names: list[str], text: str) -> bytes:
    """Return a request of nobody's whose body, read in another way, is a signed message."""
    target, message = signed(site, text)
    inside = request(target, method="POST", body=message, host="y")
    body = b"0\r\n\r\n" + inside
    headers = "".join(f"{name.format(length=len(body))}\r\n" for name in names)
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + body + request("/the-end")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return uWSGI alone, which speaks HTTP itself."""
    folder, port = tmp_path_factory.mktemp("bare"), free_port()
    own = {"WECHAT_HANDLERS": "tests.load.handlers", "LOAD_RUNS": str(folder / "runs"), "WECHAT_PATH": PATH}
    seen = {"module = runserver:application": "module = tests.security.seen:application"}
    with uwsgi(folder, environment(**own), port=port, replacements=seen) as server:
        yield Site(port, server, server, folder, "normal")


@pytest.mark.parametrize("names", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_nginx_hands_on_nothing_of_which_nobody_knows_where_it_ends(site: Site, names: list[str]) -> None:
    # What nginx takes for a second request of the connection, it looks at as at the first, and answers.
    before = site.asked
    answers = exchange(site.port, with_another_inside(site, names, "quick smuggled"))
    assert answers[0].status in (400, 403, 411, 501)
    assert site.asked - before == sum(answer.seen is not None for answer in answers)


@pytest.mark.parametrize("names", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_uwsgi_alone_answers_one_request_of_a_connection(bare: Site, names: list[str]) -> None:
    answers = exchange(bare.port, with_another_inside(bare, names, "quick smuggled"))
    assert len(answers) <= 1
    assert [answer.status for answer in answers if answer.status not in (400, 403, 501)] == []
    assert not [run for run in bare.runs if "smuggled" in run]


def test_uwsgi_alone_answers_a_message(bare: Site) -> None:
    target, body = signed(bare, "quick alone")
    (answer,) = exchange(bare.port, request(target, method="POST", body=body) + request(target))
    assert b"quick alone" in answer.body


def post(site: Site, target: str, headers: list[str], body: bytes) -> Answer:
    lines = "".join(f"{header}\r\n" for header in headers)
    data = f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n".encode() + body
    return first_answer(site.port, data)


def test_a_body_may_have_64_kib_whether_it_says_so_or_not(site: Site) -> None:
    for size, expected in ((LIMIT_BYTES, 403), (LIMIT_BYTES + 1, 413)):
        body = b"x" * size
        assert post(site, PATH, [f"Content-Length: {size}"], body).status == expected
        pieces = [body[start : start + 4096] for start in range(0, size, 4096)]
        assert post(site, PATH, ["Transfer-Encoding: chunked"], chunked(*pieces)).status == expected


@pytest.mark.parametrize("length", [100 * 2**20, 2**31, 2**32 + 1, 2**63 - 1, 10**30])
def test_100_mb_are_refused_before_they_are_sent(site: Site, length: int) -> None:
    before = site.asked
    expected = 413 if length <= 2**63 - 1 else 400
    assert post(site, PATH, [f"Content-Length: {length}"], b"").status == expected
    assert post(site, PATH, ["Content-Length: 104857600", "Expect: 100-continue"], b"").status == 413
    assert site.asked == before


def test_a_chunk_of_100_mb_is_refused_before_it_is_sent(site: Site) -> None:
    before = site.asked
    assert post(site, PATH, ["Transfer-Encoding: chunked"], b"6400000\r\n" + b"x" * 70_000).status == 413
    assert post(site, PATH, ["Transfer-Encoding: chunked"], b"ffffffffffffffffff\r\nx").status in (400, 413)
    assert site.asked == before


def test_a_message_that_is_shorter_than_it_says_is_not_handled(site: Site) -> None:
    target, body = signed(site, "quick cut")
    before = site.asked
    with connect(site.port) as connection:
        connection.sendall(
            f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}\r\n\r\n".encode() + body
        )
        connection.shutdown(1)
        received(connection)
    assert site.asked == before


def test_a_message_that_is_longer_than_it_says_is_cut_and_refused(site: Site) -> None:
    target, body = signed(site, "quick long")
    answer = post(site, target, [f"Content-Length: {len(body) - 1}"], body)
    assert (answer.status, site.runs) == (400, [run for run in site.runs if "long" not in run])


def test_a_chunked_message_is_answered(site: Site) -> None:
    target, body = signed(site, "quick chunks")
    answer = post(site, target, ["Transfer-Encoding: chunked"], chunked(body[:10], body[10:]))
    assert (answer.status, b"quick chunks" in answer.body) == (200, True)


@pytest.mark.parametrize("headers", [[f"X: {'x' * 9000}"], [f"X-{n}: {'x' * 4000}" for n in range(20)]])
def test_headers_of_32_kib_are_refused(site: Site, headers: list[str]) -> None:
    before = site.asked
    assert post(site, PATH, headers, b"").status == 400
    assert post(site, f"{PATH}?{'x' * 9000}", [], b"").status == 414
    assert site.asked == before
