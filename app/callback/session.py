"""``message.session``: a fan's dict in the cache, read when a handler first asks and saved when it changed."""

from collections.abc import Callable
from typing import Any

from app.cache import Cache, to_json, understood


class Session:
    """One fan's session during one message. Two messages of a fan at once: the last to end is the one kept."""

    def __init__(self, cache: Cache, openid: str, expire_seconds: int) -> None:
        self._cache = cache
        self._key = cache.key("session", openid)
        self._expire_seconds = expire_seconds
        self._data: dict[str, Any] | None = None
        self._before = "{}"

    @property
    def data(self) -> dict[str, Any]:
        """The dict, read from the cache the first time."""
        if self._data is None:
            kept = self._cache.get(self._key)
            self._data = understood(kept, lambda data: isinstance(data, dict))
            if self._data is None:
                self._data = {}
            elif kept:
                self._before = kept
        return self._data

    def save(self, has_left: Callable[[], bool] = lambda: False) -> None:
        """Keep the dict for its time when it changed, unless the fan has left; one that was emptied is deleted.

        Raises TypeError or ValueError when JSON cannot hold what the handler put in.
        """
        if self._data is None or (after := to_json(self._data)) == self._before:
            return
        if self._data and not has_left():
            self._cache.set(self._key, after, self._expire_seconds)
        else:
            self.delete()

    def delete(self) -> None:
        """Forget the fan."""
        self._data = None
        self._cache.delete(self._key)
