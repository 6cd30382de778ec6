"""The short form of `make pages`."""

from tests.bench.pages import PAGES, measure


def test_every_page_of_a_busy_account_is_shown_while_wechat_says_nothing() -> None:
    measured = measure(count=1, fans=1000)
    assert [one.page for one in measured] == list(PAGES)
    assert all(one.kilobytes > 0.3 for one in measured)
