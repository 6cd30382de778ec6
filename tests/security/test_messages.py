"""Messages that WeChat has not sent, or not now, or not so: through nginx, to two workers, in each mode."""

import re
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from app.callback import xml
from app.callback.seal import Seal
from app.callback.signature import sign
from app.sandbox.messages import text_message
from tests.security.conftest import OPENID, PATH, Site, site_in
from tests.security.raw import Answer, first_answer, request
from tests.servers import AES_KEY, APPID, TOKEN, free_port

MODES = ["normal", "compatible", "safe"]
SEALED_MODES = MODES[1:]
Query = dict[str, str]


@pytest.fixture(scope="module", params=MODES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_in(tmp_path_factory.mktemp(request.param), request.param) as running:
        yield running


def captured(site: Site, text: str, token: str = TOKEN) -> tuple[Query, bytes]:
    """Return the query and the body of a message as they pass on the wire."""
    with site.phone(token=token) as fan:
        return fan.envelope(text_message(OPENID, text))


def post(site: Site, query: Query, body: bytes) -> Answer:
    return first_answer(site.port, request(f"{PATH}?{urlencode(query)}", method="POST", body=body))


def aged(query: Query, body: bytes, seconds: int) -> Query:
    """Return ``query`` signed with the token as it would have been ``seconds`` ago."""
    timestamp, nonce = str(int(time.time()) - seconds), query["nonce"]
    signed = {"timestamp": timestamp, "signature": sign(TOKEN, timestamp, nonce)}
    if found := re.search(rb"<Encrypt><!\[CDATA\[(.+?)\]", body):
        signed["msg_signature"] = sign(TOKEN, timestamp, nonce, found[1].decode())
    return query | signed


def names_run(site: Site) -> list[str]:
    return [run.split()[1] for run in site.runs]


def test_what_is_signed_with_another_token_is_refused(site: Site) -> None:
    answer = post(site, *captured(site, "quick forged", "anotherToken"))
    assert (answer.status, answer.body) == (403, b"forbidden")
    assert "forged" not in names_run(site)


@pytest.mark.parametrize("seconds", [303, 86_400, -303])
def test_what_was_signed_too_long_ago_or_is_still_to_be_signed_is_refused(site: Site, seconds: int) -> None:
    query, body = captured(site, f"quick stale{seconds}")
    assert post(site, aged(query, body, seconds), body).status == 403
    assert post(site, aged(query, body, 0), body).status == 200
    assert names_run(site).count(f"stale{seconds}") == 1


def test_the_same_request_again_gets_the_same_reply_and_runs_nothing(site: Site) -> None:
    name = f"again-{site.mode}"
    query, body = captured(site, f"quick {name}")
    shown = [site.phone().judge(post(site, query, body).body).shown for _ in range(20)]
    assert shown == [f"quick {name}"] * 20
    assert names_run(site).count(name) == 1


def test_a_captured_signature_carries_no_other_message(site: Site) -> None:
    query, body = captured(site, "quick first")
    other = captured(site, "quick second")[1]
    assert post(site, query, body).status == 200
    assert {post(site, query, other).status for _ in range(10)} == {403}
    plain = text_message(OPENID, "quick second").encode()
    few = {name: query[name] for name in ("signature", "timestamp", "nonce")}
    for changed in (query, few, query | {"encrypt_type": "raw"}, few | {"encrypt_type": "raw"}):
        assert post(site, changed, plain).status == 403
    assert "second" not in names_run(site)


def test_without_encrypt_type_nothing_is_answered_in_the_open_that_came_sealed(site: Site) -> None:
    for changed in ({}, {"encrypt_type": "raw"}):
        query, body = captured(site, "quick sealed")
        del query["openid"]
        query.pop("encrypt_type", None)
        answer = post(site, query | changed, body)
        assert answer.status == 200
        assert (b"quick sealed" in answer.body) == (site.mode == "normal")


def test_the_token_alone_forges_nothing_in_safe_mode(site: Site) -> None:
    plain = text_message(OPENID, "quick token-alone").encode()
    another_key = Seal("B" * 43, APPID).seal(plain)
    sealed = f"<xml><Encrypt><![CDATA[{another_key}]]></Encrypt></xml>".encode()
    bodies = {"1": plain, "2": sealed}
    statuses = [post(site, aged({"nonce": nonce}, body, 0), body).status for nonce, body in bodies.items()]
    assert statuses == {"safe": [403, 403], "compatible": [200, 403], "normal": [200, 400]}[site.mode]
    assert ("token-alone" in names_run(site)) == (site.mode != "safe")


def test_what_is_sealed_counts_and_not_what_stands_beside_it(site: Site) -> None:
    if site.mode not in SEALED_MODES:
        assert post(site, *captured(site, "quick beside")).status == 200
        return
    query, body = captured(site, "quick inside")
    beside = text_message("oSomebodyElse", "quick beside").encode().replace(b"</xml>", b"")
    lying = beside + b"<Encrypt>" + body.partition(b"<Encrypt>")[2]
    assert site.phone().judge(post(site, query, lying).body).shown == "quick inside"
    twice = body.replace(b"</xml>", b"<Encrypt><![CDATA[eA==]]></Encrypt></xml>")
    assert post(site, query, twice).status == 403


def bombs(port: int) -> dict[str, bytes]:
    """Return XML that does harm to who believes it; ``port`` is where external entities lead to."""
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    text = b"<xml><FromUserName>o</FromUserName><MsgType>text</MsgType><Content>%s</Content></xml>"
    return {
        "billion laughs": b'<!DOCTYPE x [<!ENTITY l0 "ha">' + laughs + b"]>" + text % b"&l9;",
        "quadratic": b'<!DOCTYPE x [<!ENTITY a "' + b"x" * 30_000 + b'">]>' + text % (b"&a;" * 10_000),
        "file": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + text % b"&a;",
        "network": b'<!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1:%d/">]>' % port + text % b"&a;",
        "external DTD": b'<!DOCTYPE xml SYSTEM "http://127.0.0.1:%d/x.dtd">' % port + text % b"hi",
        "parameter": b'<!DOCTYPE x [<!ENTITY %% p SYSTEM "http://127.0.0.1:%d/">%%p;]>' % port + text % b"hi",
        "UTF-16": ('<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x [<!ENTITY a "b">]><xml><a>&a;</a></xml>').encode(
            "utf-16"
        ),
        "UTF-7": b'<?xml version="1.0" encoding="UTF-7"?>+ADw-!DOCTYPE x+AD4APA-xml/+AD4-',
        "deep": b"<xml>" + b"<a>" * 21_000,
        "deep and closed": b"<xml>" + b"<a>" * 9_000 + b"</a>" * 9_000 + b"</xml>",
        "a huge attribute": b'<xml a="' + b"x" * 65_000 + b'"/>',
        "many attributes": b"<xml " + b" ".join(b'a%d=""' % n for n in range(6_500)) + b"/>",
        "one long name": b"<" + b"x" * 65_000 + b"/>",
        "bytes that are no UTF-8": b"<xml>" + b"\xff\xfe\xc0\xaf" * 16_000 + b"</xml>",
        "zero bytes": b"<xml>" + b"\0" * 65_000 + b"</xml>",
    }


@pytest.mark.parametrize("name", bombs(0))
def test_no_xml_does_harm_though_it_is_signed(site: Site, name: str) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        listener.setblocking(False)
        bomb = bombs(listener.getsockname()[1])[name]
        if site.mode == "safe":
            sealed = Seal(AES_KEY, APPID).seal(bomb[:45_000] if len(bomb) > 45_000 else bomb)
            bomb = f"<xml><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>".encode()
        answer = post(site, aged({"nonce": f"{name} {site.mode}"}, bomb, 0), bomb)
        assert (answer.status, answer.body) == (400, b"bad request")
        with pytest.raises(BlockingIOError):  # nobody has come to fetch anything
            listener.accept()


def test_xinclude_is_a_text_like_any_other(site: Site) -> None:
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
    query, body = captured(site, f"quick {include}")
    answer = post(site, query, body)
    assert answer.status == 200
    assert b"root:" not in answer.body
    if site.mode == "normal":
        assert xml.read_strictly(answer.body)["Content"] == f"quick {include}"
