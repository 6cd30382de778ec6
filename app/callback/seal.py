"""AES as WeChat seals messages and replies: random(16) + length(4) + xml + appid, padded to 32, AES-256-CBC."""

import base64
import binascii
import hmac
import os
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from app.callback.signature import sign
from app.errors import BadCiphertext

_BLOCK_BYTES = 32
_HEAD_BYTES = 20


class Seal:
    """One EncodingAESKey of one account. Safe to share between threads."""

    # https://developers.weixin.qq.com/doc/oplatform/developers/dev/push/encryption.html

    def __init__(self, encoding_aes_key: str, appid: str) -> None:
        key = base64.b64decode(encoding_aes_key + "=")
        self._cipher = Cipher(algorithms.AES256(key), modes.CBC(key[:16]))
        self._appid = appid.encode()

    def seal(self, xml: bytes) -> str:
        """Return ``xml`` sealed, in base64."""
        data = b"".join((os.urandom(16), struct.pack(">I", len(xml)), xml, self._appid))
        pad = _BLOCK_BYTES - len(data) % _BLOCK_BYTES
        encryptor = self._cipher.encryptor()
        return base64.b64encode(encryptor.update(data + bytes((pad,)) * pad) + encryptor.finalize()).decode()

    def unseal(self, encrypt: str) -> bytes:
        """Return the XML inside the base64 text ``encrypt``.

        Raises BadCiphertext when it is damaged, sealed with another key, or meant for another account.
        """
        data = self._decrypt(encrypt)
        pad = data[-1]
        if not 1 <= pad <= _BLOCK_BYTES or data[-pad:] != bytes((pad,)) * pad:
            raise BadCiphertext("the padding is wrong: another EncodingAESKey?")
        end = _HEAD_BYTES + int.from_bytes(data[16:_HEAD_BYTES], "big")
        if end > len(data) - pad:
            raise BadCiphertext("the length field points past the end")
        if not hmac.compare_digest(data[end:-pad], self._appid):
            raise BadCiphertext("sealed for another appid; is WECHAT_APPID this account's?")
        return data[_HEAD_BYTES:end]

    def _decrypt(self, encrypt: str) -> bytes:
        try:
            data = base64.b64decode(encrypt.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise BadCiphertext("the ciphertext is not base64") from error
        if not data or len(data) % _BLOCK_BYTES:
            raise BadCiphertext(f"the ciphertext's length is not a multiple of {_BLOCK_BYTES} bytes")
        decryptor = self._cipher.decryptor()
        return decryptor.update(data) + decryptor.finalize()


def unseal_with_any(seals: tuple[Seal, ...], encrypt: str) -> tuple[bytes, Seal]:
    """Return the XML and the seal that opened it; the current key is tried before the previous one.

    Raises BadCiphertext for the current key when none opens it.
    """
    failure = BadCiphertext("no EncodingAESKey is set")
    for seal in seals:
        try:
            return seal.unseal(encrypt), seal
        except BadCiphertext as error:
            failure = failure if seal is not seals[0] else error
    raise failure


def seal_reply(seal: Seal, token: str, xml: str, timestamp: int) -> str:
    """Return the reply ``xml`` in the envelope that WeChat takes, sealed and signed."""
    encrypt, nonce = seal.seal(xml.encode()), os.urandom(8).hex()
    msg_signature = sign(token, str(timestamp), nonce, encrypt)
    return (
        f"<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt><MsgSignature><![CDATA[{msg_signature}]]></MsgSignature>"
        f"<TimeStamp>{timestamp}</TimeStamp><Nonce><![CDATA[{nonce}]]></Nonce></xml>"
    )
