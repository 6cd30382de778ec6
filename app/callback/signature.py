"""Step 1: did WeChat sign this, just now, and for this body?"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from app.cache import Cache
from app.errors import BadSignature, ReplayedSignature, StaleSignature


def sign(*parts: str) -> str:
    """Return WeChat's signature of token, timestamp, nonce and, when sealed, the ciphertext: 40 hex digits."""
    # https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/Access_Overview.html
    return hashlib.sha1("".join(sorted(parts)).encode(), usedforsecurity=False).hexdigest()


class Verifier:
    """Checks signatures with the current and the previous token, and remembers which body each one carried."""

    def __init__(self, tokens: Iterable[str], max_skew_seconds: int, cache: Cache) -> None:
        self._tokens = tuple(tokens)
        self._max_skew_seconds = max_skew_seconds
        self._cache = cache

    def verify(self, query: Mapping[str, str], now: float, *, encrypt: str | None = None) -> str:
        """Return the token that signed ``query``, and ``encrypt`` with it where the body is sealed.

        Raises BadSignature when nobody did, or when it was more than the allowed skew away from ``now``.
        """
        given = query.get("signature" if encrypt is None else "msg_signature", "").encode()
        timestamp, nonce = query.get("timestamp", ""), query.get("nonce", "")
        if not timestamp or not nonce:  # without delimiters, a missing part could stand in another one
            raise BadSignature("timestamp or nonce is missing")
        signed = (timestamp, nonce) if encrypt is None else (timestamp, nonce, encrypt)
        for token in self._tokens:
            if hmac.compare_digest(sign(token, *signed).encode(), given):
                self._check_age(timestamp, now)
                return token
        raise BadSignature("the signature is not one of this account's token; is WECHAT_TOKEN the token of the page?")

    def claim(self, signature: str, body: bytes) -> None:
        """Claim a plain signature for ``body``; raises ReplayedSignature when it has carried another one before.

        The plain signature does not cover the body: overheard once, it would carry anything until it is stale.
        WeChat's redelivery is the same body under the same signature.
        """
        # Keyed by the signature: it has no delimiters, so '12','3' and '1','23' are the same one.
        key = self._cache.key("signature", signature)
        digest = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        if self._cache.claim(key, digest, self.usable_seconds) != digest:
            raise ReplayedSignature("this signature has already carried another message")

    @property
    def usable_seconds(self) -> int:
        """How long a signature can be used: the skew to both sides, and 3 s for the grain of the cache."""
        return 2 * self._max_skew_seconds + 3

    def _check_age(self, timestamp: str, now: float) -> None:
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            raise BadSignature("the timestamp is not a number of seconds")
        skew_seconds = round(now) - int(timestamp)
        if abs(skew_seconds) > self._max_skew_seconds:
            raise StaleSignature(
                f"the signature is {skew_seconds} s old, more than WECHAT_MAX_SKEW_SECONDS={self._max_skew_seconds}; "
                "is this machine's clock right?"
            )
