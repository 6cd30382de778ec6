"""What each uWSGI had counted, in all databases."""

from flask import Flask

from app.store.figures import figures_since, has_figures, keep_figures
from tests.servers import APPID


def test_what_an_account_had_counted_is_given_back_in_order(store: Flask) -> None:
    for source, minute in (("a", 998), ("b", 1000), ("a", 1000), ("a", 999)):
        keep_figures(APPID, source, minute, f'{{"n": {minute}}}')
    keep_figures("wx0000000000000000", "a", 1000, "{}")
    assert figures_since(APPID, 999)[0] == ("a", 999, '{"n": 999}')
    assert [minute for _, minute, _ in figures_since(APPID, 999)] == [999, 1000, 1000]


def test_a_minute_is_kept_once_whoever_comes_second(store: Flask) -> None:
    keep_figures(APPID, "a", 1000, "first")
    keep_figures(APPID, "a", 1000, "second")
    assert [content for _, _, content in figures_since(APPID, 0)] == ["first"]
    assert has_figures(APPID, "a", 1000)
    assert not has_figures(APPID, "b", 1000)


def test_what_is_more_than_a_day_old_is_forgotten(store: Flask) -> None:
    for minute in (1, 1000, 1001, 2501):
        keep_figures(APPID, "a", minute, "{}")
    assert [minute for _, minute, _ in figures_since(APPID, 0)] == [1001, 2501]
