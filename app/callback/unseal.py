"""Step 2: from the body to the message's fields, verified and, where it came sealed, opened."""

import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from app.callback import xml
from app.callback.seal import Seal, unseal_with_any
from app.callback.signature import Verifier, sign
from app.errors import BadCiphertext, BadSignature, NotSealed, ReplayedSignature

_MOST_LOOKED_AT = 4
_ENCRYPT = re.compile(rb"<Encrypt>\s*(?:<!\[CDATA\[)?([A-Za-z0-9+/=]+)")


class Opened(NamedTuple):
    """A verified body: its fields, the token that signed it, and the seal that opened it, None for plaintext."""

    fields: xml.Fields
    token: str
    seal: Seal | None


class Opener:
    """Opens bodies in one of WeChat's three modes: normal, compatible or safe."""

    def __init__(self, encrypt_mode: str, verifier: Verifier, seals: tuple[Seal, ...]) -> None:
        self._encrypt_mode = encrypt_mode
        self._verifier = verifier
        self._seals = seals

    def open(self, query: Mapping[str, str], body: bytes, now: float) -> Opened:
        """Return the opened body; in compatible mode what is sealed counts, and a plaintext beside it is ignored.

        Raises BadSignature, BadCiphertext or BadMessage.
        """
        if self._encrypt_mode == "normal":
            return self._open_plaintext(query, body, now)
        token, signed = self._look_for_signature(query, body, now)
        outer = xml.read(body)
        if "Encrypt" not in outer and self._encrypt_mode == "compatible":
            return self._open_plaintext(query, body, now)
        encrypt = outer.get("Encrypt")
        if encrypt is None:
            raise NotSealed("a plaintext body in safe mode")
        if not isinstance(encrypt, str):
            raise BadCiphertext("Encrypt is not one text")
        if encrypt != signed:
            token = self._verifier.verify(query, now, encrypt=encrypt)
        if self._encrypt_mode == "compatible":  # where a plaintext body could come under the same signature
            with suppress(ReplayedSignature):  # sealed anew, it is still WeChat's own
                self._verifier.claim(sign(token, query["timestamp"], query["nonce"]), body)
        inner, seal = unseal_with_any(self._seals, encrypt)
        return Opened(xml.read(inner), token, seal)

    def _look_for_signature(self, query: Mapping[str, str], body: bytes, now: float) -> tuple[str, str | None]:
        """Return the token that signed the body, and which ciphertext in it, None for the request alone.

        Raises BadSignature for a stranger's body before it is read: 64 KiB of XML can take 20 ms.
        """
        # The first one may be a fan's text, in a plaintext beside it.
        *others, last = [found[1].decode() for found in islice(_ENCRYPT.finditer(body), _MOST_LOOKED_AT)] or [None]
        for encrypt in others:
            with suppress(BadSignature):
                return self._verifier.verify(query, now, encrypt=encrypt), encrypt
        return self._verifier.verify(query, now, encrypt=last), last

    def _open_plaintext(self, query: Mapping[str, str], body: bytes, now: float) -> Opened:
        token = self._verifier.verify(query, now)
        self._verifier.claim(query["signature"], body)
        return Opened(xml.read(body), token, None)
