import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache import Cache, connect
from app.errors import ConfigError

CACHE = connect("memory://", "wx0")


@pytest.fixture
def cache() -> Cache:
    return connect("memory://", "wx0")


def test_add_stores_only_where_nothing_stands(cache: Cache) -> None:
    assert cache.add("k", "first", 60)
    assert not cache.add("k", "second", 60)
    assert cache.get("k") == "first"


def test_values_are_text_and_never_pickle(cache: Cache) -> None:
    cache.set("k", '{"文": 1}', 60)
    assert cache.get("k") == '{"文": 1}'
    assert cache.get.__self__._cache["k"][1] == '{"文": 1}'.encode()
    with pytest.raises(AttributeError):
        cache.set("k", object(), 60)


def test_a_full_memory_cache_forgets_the_oldest_tenth() -> None:
    backend = connect("memory://", "").get.__self__
    backend._threshold = 100
    for number in range(105):
        backend.set(str(number), str(number), 60)
    assert backend.get("0") is None
    assert backend.get("104") == "104"
    assert len(backend._cache) <= 101


def test_every_key_has_the_account_and_the_kind_in_it(cache: Cache) -> None:
    assert cache.key("message", "oFan", "123").startswith("wx0:message:")


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_a_key_is_short_ascii_whatever_the_sender_put_in(parts: list[str]) -> None:
    key = CACHE.key("message", *parts)
    assert len(key) < 120
    assert key.isascii()


def test_the_cache_of_uwsgi_is_only_under_uwsgi() -> None:
    with pytest.raises(ConfigError, match="works under uWSGI only; expected memory://"):
        connect("uwsgi://wechat", "")
