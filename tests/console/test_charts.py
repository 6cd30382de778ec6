"""What the charts draw."""

import re

import pytest

from app.console.charts import bars, curves, quantile

BUCKETS = {"0.1": 50, "1.0": 90, "5.0": 98, "10.0": 100, "+Inf": 100}


def test_bars_stand_on_one_another_and_the_highest_is_as_high_as_the_chart() -> None:
    chart = bars("t", [(0, {"text": 3, "event": 1}), (60, {"text": 2}), (120, {})])
    assert [bar.parts for bar in chart.bars] == [[(0, 75.0, 25.0), (1, 0.0, 75.0)], [(1, 50.0, 50.0)], []]
    assert (chart.most, chart.total, chart.legend) == (4, 6, [(0, "event", 1), (1, "text", 5)])
    assert re.fullmatch(r"\d\d:\d\d · event 1 · text 3", chart.bars[0].words)


def test_what_is_rare_is_put_together() -> None:
    chart = bars("t", [(0, {f"type {number}": 100 - number for number in range(10)})])
    assert len(chart.legend) == 8
    assert chart.legend[-1] == (7, "…", 93 + 92 + 91)
    assert chart.total == 955


def test_a_chart_of_nothing_is_empty() -> None:
    chart = bars("t", [(0, {}), (60, {"text": 0})])
    assert (chart.most, chart.total, chart.legend) == (0, 0, [])


@pytest.mark.parametrize(
    ("share", "seconds"), [(0.5, 0.1), (0.7, 0.55), (0.98, 5.0), (0.99, 7.5), (1.0, 10.0), (0.25, 0.05)]
)
def test_a_quantile_is_between_the_bounds_of_its_bucket(share: float, seconds: float) -> None:
    assert quantile(BUCKETS, share) == pytest.approx(seconds)


def test_what_took_longer_than_the_last_bound_took_at_least_that() -> None:
    assert quantile({"60.0": 0, "+Inf": 3}, 0.5) == 60.0


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({"1.0": 0, "+Inf": 0}, 0.5) is None


def test_the_curves_leave_out_what_had_no_answer_and_count_what_was_past_5_seconds() -> None:
    chart = curves("t", [(0, BUCKETS), (60, {}), (120, BUCKETS)])
    (_, name, p50), (_, _, p95) = chart.curves
    assert (name, [point.partition(",")[0] for point in p50.split()]) == ("p50", ["0.5", "2.5"])
    assert (chart.over, chart.total) == (4, 200)
    middle, high = (float(line.split()[0].partition(",")[2]) for line in (p50, p95))
    assert middle > high > chart.limit_y  # further down is quicker
