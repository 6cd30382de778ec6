"""Charts, drawn on the server: what the template needs to know of each."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

HEIGHT = 100
"""How high a chart is; its width is the number of its bars."""
_MOST_SERIES = 7
_OTHER = "…"
_FASTEST, _SLOWEST = 0.01, 60.0
_LIMIT_SECONDS = 5.0


class Bar(NamedTuple):
    """One bar: its words, and (number of the series, y, height) of each part, from below."""

    words: str
    parts: list[tuple[int, float, float]]


class Chart(NamedTuple):
    """A chart of bars; ``legend`` is (number of the series, name, how many in all)."""

    title: str
    most: int
    bars: list[Bar]
    legend: list[tuple[int, str, int]]
    begins: str
    ends: str

    @property
    def total(self) -> int:
        """How many there are in all."""
        return sum(count for _, _, count in self.legend)


class Curves(NamedTuple):
    """A chart of curves over a scale of seconds: each (number, name, points of the line), and where the 5 s are."""

    title: str
    width: int
    curves: list[tuple[int, str, str]]
    limit_y: float
    over: int
    total: int
    begins: str
    ends: str


def bars(title: str, points: Sequence[tuple[int, Mapping[str, int]]]) -> Chart:
    """Return the chart of ``points``: for each begin of a step (seconds since 1970) what was counted, by name."""
    totals: Counter[str] = Counter()
    for _, counts in points:
        totals.update({name: count for name, count in counts.items() if count})
    # In one order, so that a name keeps its colour while others come and go in number.
    names = sorted(name for name, _ in totals.most_common(_MOST_SERIES))
    other = sum(totals.values()) - sum(totals[name] for name in names)
    most = max((sum(counts.values()) for _, counts in points), default=0)
    legend = [(number, name, totals[name]) for number, name in enumerate(names)]
    if other:
        legend.append((_MOST_SERIES, _OTHER, other))
    drawn = [_bar(clock(begins), counts, names, most) for begins, counts in points]
    return Chart(title, most, drawn, legend, clock(points[0][0]), clock(points[-1][0]))


def _bar(words: str, counts: Mapping[str, int], names: list[str], most: int) -> Bar:
    known = [(number, name, counts.get(name, 0)) for number, name in enumerate(names)]
    known.append((_MOST_SERIES, _OTHER, sum(counts.values()) - sum(count for _, _, count in known)))
    parts, below = [], 0.0
    for number, name, count in known:
        if count:
            height = count / most * HEIGHT
            below += height
            parts.append((number, round(HEIGHT - below, 2), round(height, 2)))
            words += f" · {name} {count}"
    return Bar(words, parts)


def curves(title: str, points: Sequence[tuple[int, Mapping[str, int]]]) -> Curves:
    """Return the chart of seconds, from points whose counts are those of a histogram, by the upper bound of each."""
    lines = []
    for number, (name, share) in enumerate((("p50", 0.5), ("p95", 0.95))):
        found = [(x, quantile(counts, share)) for x, (_, counts) in enumerate(points)]
        shown = " ".join(f"{x + 0.5},{_y(seconds)}" for x, seconds in found if seconds is not None)
        lines.append((number, name, shown))
    total, within = (sum(counts.get(bound, 0) for _, counts in points) for bound in ("+Inf", "5.0"))
    begins, ends = clock(points[0][0]), clock(points[-1][0])
    return Curves(title, len(points), lines, _y(_LIMIT_SECONDS), total - within, total, begins, ends)


def quantile(buckets: Mapping[str, int], share: float) -> float | None:
    """Return the seconds within which ``share`` of all ended, by the cumulative ``buckets``; None where none did."""
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    total = bounds[-1][1] if bounds else 0
    if not total:
        return None
    lower, below = 0.0, 0
    for upper, count in bounds:
        if count >= share * total:
            return lower if math.isinf(upper) else lower + (upper - lower) * (share * total - below) / (count - below)
        lower, below = upper, count
    return None


def clock(seconds: int) -> str:
    """Return the hour and minute of this machine."""
    return time.strftime("%H:%M", time.localtime(seconds))


def _y(seconds: float) -> float:
    """Return how far below the top ``seconds`` are, on a scale on which each step is ten times the one before."""
    within = min(max(seconds, _FASTEST), _SLOWEST)
    return round(HEIGHT * (1 - math.log(within / _FASTEST) / math.log(_SLOWEST / _FASTEST)), 2)
