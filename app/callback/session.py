"""``message.session``: a fan's dict in the cache, read when a handler first asks and saved when it changed."""

import json
from collections.abc import Callable
from typing import Any

from app.cache import Cache, to_json, understood


class Session:
    """One fan's session during one message. Two at once: of a key that both change, the last is kept."""

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
            self._data = self._kept()
            self._before = to_json(self._data)
        return self._data

    def save(self, has_left: Callable[[], bool] = lambda: False) -> None:
        """Keep the keys that changed, unless the fan has left; raises TypeError or ValueError for what is no JSON."""
        if self._data is None or (written := to_json(self._data)) == self._before:
            return
        before, after, kept = json.loads(self._before), json.loads(written), self._kept()
        ours = {key for key in before.keys() | after.keys() if before.get(key, self) != after.get(key, self)}
        after = {key: kept[key] for key in kept.keys() - ours} | {key: after[key] for key in ours & after.keys()}
        if after and not has_left():
            self._cache.set(self._key, to_json(after), self._expire_seconds)
        else:
            self.delete()

    def _kept(self) -> dict[str, Any]:
        return understood(self._cache.get(self._key), lambda data: isinstance(data, dict)) or {}

    def delete(self) -> None:
        """Forget the fan."""
        self._data = None
        self._cache.delete(self._key)
