import time

import pytest

from app.cache import Cache, connect
from app.callback.signature import Verifier, sign
from app.errors import BadSignature
from tests.callback.vectors import VECTORS, name, of_kind

NOW = 1714037059.0
QUERY = {"timestamp": "1714037059", "nonce": "486452656", "signature": "899cf89e464efb63f54ddac96b0a0a235f53aa78"}


@pytest.fixture
def cache() -> Cache:
    return connect("memory://", "wx0000000000000000")


@pytest.fixture
def verifier(cache: Cache) -> Verifier:
    return Verifier(["AAAAA"], 300, cache)


def test_all_vectors_are_here() -> None:
    assert len(VECTORS) == 13


@pytest.mark.parametrize("vector", of_kind("signature3"), ids=name)
def test_a_plain_signature_is_what_wechat_sends(vector: dict[str, str]) -> None:
    assert sign(vector["token"], vector["timestamp"], vector["nonce"]) == vector["signature"]


SIGNED = [vector for vector in of_kind("decrypt", "encrypt") if "msg_signature" in vector]


@pytest.mark.parametrize("vector", SIGNED, ids=name)
def test_a_sealed_signature_is_what_wechat_sends(vector: dict[str, str]) -> None:
    signed = (vector["token"], vector["timestamp"], vector["nonce"], vector["encrypt"])
    assert sign(*signed) == vector["msg_signature"]


def test_the_right_signature_passes(verifier: Verifier) -> None:
    assert verifier.verify(QUERY, NOW) == "AAAAA"


@pytest.mark.parametrize("missing", ["signature", "timestamp", "nonce"])
def test_nothing_may_be_missing(verifier: Verifier, missing: str) -> None:
    with pytest.raises(BadSignature):
        verifier.verify({key: value for key, value in QUERY.items() if key != missing}, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"signature": QUERY["signature"].upper()},
        {"signature": QUERY["signature"][:-1]},
        {"signature": ""},
        {"signature": "é" * 40},
        {"nonce": "486452657"},
        {"timestamp": "1714037058"},
    ],
)
def test_a_changed_query_is_refused(verifier: Verifier, change: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        verifier.verify(QUERY | change, NOW)


@pytest.mark.parametrize("skew_seconds", [-300, 0, 300])
def test_a_clock_that_is_a_little_off_passes(verifier: Verifier, skew_seconds: int) -> None:
    assert verifier.verify(QUERY, NOW + skew_seconds) == "AAAAA"


@pytest.mark.parametrize("skew_seconds", [-302, 302, 10**9])
def test_a_stale_signature_is_refused_with_its_age(verifier: Verifier, skew_seconds: int) -> None:
    with pytest.raises(BadSignature, match=f"{skew_seconds} s old.*clock"):
        verifier.verify(QUERY, NOW + skew_seconds)


@pytest.mark.parametrize("timestamp", ["", "-5", "1e9", "١٢٣", "9" * 13, "17140370 9"])
def test_a_timestamp_that_is_no_number_is_refused_though_signed(verifier: Verifier, timestamp: str) -> None:
    query = {"timestamp": timestamp, "nonce": "1", "signature": sign("AAAAA", timestamp, "1")}
    with pytest.raises(BadSignature, match="timestamp"):
        verifier.verify(query, NOW)


def test_the_previous_token_still_signs(cache: Cache) -> None:
    assert Verifier(["newToken", "AAAAA"], 300, cache).verify(QUERY, NOW) == "AAAAA"


def test_a_signature_carries_one_body_as_often_as_it_comes(verifier: Verifier) -> None:
    verifier.claim(QUERY["signature"], b"one")
    verifier.claim(QUERY["signature"], b"one")
    with pytest.raises(BadSignature, match="already carried"):
        verifier.claim(QUERY["signature"], b"two")


def test_moving_a_digit_from_nonce_to_timestamp_makes_no_new_signature(verifier: Verifier) -> None:
    verifier.claim(sign("x", "12", "3"), b"one")
    with pytest.raises(BadSignature):
        verifier.claim(sign("x", "1", "23"), b"two")


def test_another_signature_carries_another_body(verifier: Verifier, cache: Cache) -> None:
    verifier.claim(sign("x", "12", "3"), b"one")
    verifier.claim(sign("x", "12", "4"), b"two")
    assert cache.get(cache.key("signature", sign("x", "12", "4"))) is not None


def test_a_signature_is_claimed_for_as_long_as_it_can_be_used(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier.claim("s", b"one")
    now = time.time()
    monkeypatch.setattr("cachelib.simple.time", lambda: now + 600)
    with pytest.raises(BadSignature):
        verifier.claim("s", b"two")
