"""Whatever arrives, the callback answers 200, 400, 403 or 413, and no exception leaves the road."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.callback.signature import sign
from app.sandbox.messages import text_message
from tests.actors import OPENID, Account
from tests.servers import TOKEN

SAMPLES = sorted((Path(__file__).parent.parent / "samples").glob("*.xml"))
MODES = ["normal", "compatible", "safe"]
ALLOWED = {200, 400, 403}
quick = settings(max_examples=700, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def show_all(message: Any) -> str:
    """Read everything that a message has, bad numbers included."""
    names = [name for name in dir(message) if not name.startswith("_")]
    return "".join(str(getattr(message, name)) for name in names)


@pytest.fixture(params=MODES)
def opened(request: pytest.FixtureRequest, account: Callable[..., Account]) -> Account:
    return account({"*": show_all}, WECHAT_ENCRYPT_MODE=request.param, WECHAT_LOG_LEVEL="ERROR")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A recorded message with pieces cut out, doubled, moved and overwritten."""
    data = bytearray(draw(st.sampled_from(SAMPLES)).read_bytes())
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        change = draw(st.sampled_from(["cut", "double", "overwrite", "insert"]))
        if change == "cut":
            del data[start:end]
        elif change == "double":
            data[start:start] = data[start:end]
        elif change == "overwrite":
            data[start : start + 3] = draw(st.binary(max_size=3))
        else:
            data[start:start] = draw(
                st.sampled_from([b"]]>", b"<![CDATA[", b"<a>", b"&#0;", b"&amp;", b"\x00", b"\xff"])
            )
    return bytes(data)


@quick
@given(body=st.binary(max_size=300) | mutated(), signed=st.booleans(), number=st.integers(0, 10**9))
@example(body=b"<xml>" + b"<a>" * 20000, signed=True, number=1)
@example(body=b"<!DOCTYPE x [<!ENTITY a 'b'>]><xml><MsgType>&a;</MsgType></xml>", signed=True, number=2)
def test_no_body_makes_it_fail(opened: Account, body: bytes, signed: bool, number: int) -> None:
    query, _ = opened.phone.envelope("<xml/>")
    query["nonce"] = str(number)
    query["signature"] = sign(TOKEN, query["timestamp"], query["nonce"]) if signed else "0" * 40
    response = opened.post(query, body)
    assert response.status_code in ALLOWED
    assert signed or response.status_code != 200


@quick
@given(body=mutated())
def test_no_sealed_body_makes_it_fail(opened: Account, body: bytes) -> None:
    text = body.decode(errors="replace")
    assert opened.post(*opened.phone.envelope(text)).status_code in ALLOWED


@quick
@given(seed=st.integers(0, 2**32))
def test_no_damaged_ciphertext_is_answered(opened: Account, seed: int) -> None:
    dice = random.Random(seed)
    query, body = opened.phone.envelope(text_message(OPENID, "hi"))
    if opened.settings.encrypt_mode == "normal":
        query["signature"] = "0" * 40
    start = body.find(b"<Encrypt>") + len(b"<Encrypt><![CDATA[") if b"<Encrypt>" in body else 0
    place = dice.randrange(start, len(body) - len(b"]]></Encrypt></xml>"))
    other = bytes([dice.choice([byte for byte in b"ABCDabcd0123+/=\x00<" if byte != body[place]])])
    assert opened.post(query, body[:place] + other + body[place + 1 :]).status_code in {400, 403}


@quick
@given(
    query=st.dictionaries(
        st.sampled_from(["signature", "timestamp", "nonce", "msg_signature", "echostr", "encrypt_type", "openid"]),
        st.text(max_size=50) | st.integers().map(str),
    ),
    method=st.sampled_from(["GET", "POST"]),
)
def test_no_query_makes_it_fail(opened: Account, query: dict[str, str], method: str) -> None:
    response = opened.client.open("/wechat", method=method, query_string=query, data=text_message(OPENID, "hi"))
    assert response.status_code == 403
