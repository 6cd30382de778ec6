import base64
import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from app.callback import xml
from app.callback.seal import Seal, seal_reply, unseal_with_any
from app.callback.signature import sign
from app.errors import BadCiphertext
from tests.callback.vectors import name, of_kind
from tests.servers import AES_KEY, APPID

SEAL = Seal(AES_KEY, APPID)
OTHER_KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"


def encrypted(plain: bytes, key: str = AES_KEY) -> str:
    aes = base64.b64decode(key + "=")
    encryptor = Cipher(algorithms.AES256(aes), modes.CBC(aes[:16])).encryptor()
    return base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode()


def packed(content: bytes, appid: str = APPID, length: int | None = None, pad: bytes | None = None) -> bytes:
    data = b"r" * 16 + struct.pack(">I", len(content) if length is None else length) + content + appid.encode()
    size = 32 - len(data) % 32
    return data + (bytes([size]) * size if pad is None else pad)


@pytest.mark.parametrize("vector", of_kind("decrypt", "encrypt"), ids=name)
def test_what_wechat_sealed_is_opened(vector: dict[str, str]) -> None:
    seal = Seal(vector["encoding_aes_key"], vector["appid"])
    assert seal.unseal(vector["encrypt"]).decode() == vector["plaintext"]


@pytest.mark.parametrize("vector", of_kind("encrypt"), ids=name)
def test_sealing_gives_what_wechat_gives_for_the_same_random_prefix(
    vector: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.callback.seal.os.urandom", lambda count: vector["random16"].encode()[:count])
    assert Seal(vector["encoding_aes_key"], vector["appid"]).seal(vector["plaintext"].encode()) == vector["encrypt"]


@given(st.binary(max_size=200))
def test_what_is_sealed_can_be_opened(content: bytes) -> None:
    assert SEAL.unseal(SEAL.seal(content)) == content


def test_the_random_prefix_is_another_each_time() -> None:
    assert len({SEAL.seal(b"same") for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("encrypt", "reason"),
    [
        ("", "multiple of 32"),
        ("!!!!", "not base64"),
        ("你好", "not base64"),
        ("QUJD", "multiple of 32"),
        (encrypted(b"x" * 48), "multiple of 32"),
        (encrypted(packed(b"<xml/>", pad=b"\0" * 26)[:64]), "padding"),
        (encrypted(b"\0" * 16 + b"\x21" * 48), "padding"),
        (encrypted(packed(b"<xml/>")[:-1] + b"\x05"), "padding"),
        (encrypted(packed(b"<xml/>", length=2**32 - 1)), "length field"),
        (encrypted(packed(b"<xml/>", length=40)), "length field"),
        (encrypted(packed(b"<xml/>", length=5)), "appid"),
        (encrypted(packed(b"<xml/>", appid="wx0000000000000000")), "appid"),
        (encrypted(packed(b"<xml/>", appid="")), "appid"),
        (encrypted(packed(b"<xml/>"), OTHER_KEY), "padding|length|appid"),
        (encrypted(b"\x20" * 32), "length field"),
    ],
)
def test_what_is_damaged_is_refused(encrypt: str, reason: str) -> None:
    with pytest.raises(BadCiphertext, match=reason):
        SEAL.unseal(encrypt)


@given(st.text(max_size=300) | st.binary(max_size=320).map(lambda data: base64.b64encode(data).decode()))
def test_garbage_raises_nothing_else(encrypt: str) -> None:
    with pytest.raises(BadCiphertext):
        SEAL.unseal(encrypt)


def test_the_previous_key_opens_too_and_is_the_one_to_answer_with() -> None:
    current, previous = Seal(OTHER_KEY, APPID), Seal(AES_KEY, APPID)
    assert unseal_with_any((current, previous), previous.seal(b"old")) == (b"old", previous)
    assert unseal_with_any((current, previous), current.seal(b"new")) == (b"new", current)


def test_the_reason_is_the_current_keys_when_no_key_opens() -> None:
    with pytest.raises(BadCiphertext, match="appid"):
        unseal_with_any((SEAL, Seal(OTHER_KEY, APPID)), encrypted(packed(b"x", appid="wx0")))


def test_a_reply_is_sealed_and_signed() -> None:
    fields = xml.read_strictly(seal_reply(SEAL, "token1", "<xml>你好</xml>", 1714037059).encode())
    assert SEAL.unseal(fields["Encrypt"]).decode() == "<xml>你好</xml>"
    assert fields["TimeStamp"] == "1714037059"
    assert fields["MsgSignature"] == sign("token1", fields["TimeStamp"], fields["Nonce"], fields["Encrypt"])
