"""What each uWSGI had counted, in all databases."""

from flask import Flask

from app.store.figures import figures_since, has_figures, keep_figures
from tests.servers import APPID


def test_every_tenth_minute_and_the_first_of_each_source_are_given_back(store: Flask) -> None:
    for source, minutes in (("a", range(995, 1022)), ("b", range(1013, 1015))):
        for minute in minutes:
            keep_figures(APPID, source, minute, f'{{"n": {minute}}}')
    keep_figures("wx0000000000000000", "a", 1000, "{}")
    found = figures_since(APPID, 996, 10)
    assert [(source, minute) for source, minute, _ in found] == [
        ("a", 996),
        ("a", 1000),
        ("a", 1010),
        ("b", 1013),
        ("a", 1020),
    ]
    assert found[0][2] == '{"n": 996}'
    assert len(figures_since(APPID, 1000, 1)) == 24


def test_a_minute_is_kept_once_whoever_comes_second(store: Flask) -> None:
    keep_figures(APPID, "a", 1000, "first")
    keep_figures(APPID, "a", 1000, "second")
    assert [content for _, _, content in figures_since(APPID, 0, 1)] == ["first"]
    assert has_figures(APPID, "a", 1000)
    assert not has_figures(APPID, "b", 1000)


def test_what_is_more_than_a_day_old_is_forgotten(store: Flask) -> None:
    for minute in (1, 1000, 1001, 2501):
        keep_figures(APPID, "a", minute, "{}")
    assert [minute for _, minute, _ in figures_since(APPID, 0, 1)] == [1001, 2501]
