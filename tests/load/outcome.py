"""What each fan got in a scenario, and what it should have been."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.sandbox.phone import DELIVERIES
from tests.load.wechat import Result

HOLD_REPLY = "还在处理，稍后回复 1 查看结果"
_ANSWER = "answer "


class Way(NamedTuple):
    """A way on which the answer comes: all that a fan sees, in order, who asks with "1" ``asks`` times afterwards.

    Customer-service messages come last; ANSWER stands for the answer to this fan.
    """

    sees: tuple[str, ...]
    asks: int


WAYS = {
    "reply": Way(("ANSWER", "1"), 1),
    "customer_service": Way(("", "1", "ANSWER"), 1),
    "next_message": Way((HOLD_REPLY, "ANSWER", "1"), 2),
}


class Scenario(NamedTuple):
    """So many fans, who arrive evenly and get an answer after ``handler_seconds`` on one of the WAYS.

    ``below_…`` is what is to be reached, where something is.
    """

    name: str
    way: str = "reply"
    fans: int = 1000
    handler: str = "slow"  # "slow" is a plain function, "async" an async one
    handler_seconds: float = 8
    encrypt_mode: str = "normal"
    through_nginx: bool = True
    deliveries: int = DELIVERIES
    arrive_seconds: float = 2
    quick_per_second: float = 50
    hang_up_seconds: tuple[float, float] | None = None  # each fan's own, drawn from between these
    below_p99_ms: float | None = None
    below_worst_ms: float | None = None
    below_memory_mb: float | None = None

    @property
    def openids(self) -> list[str]:
        """Return the fans; each one's openid is the name in the answer, too."""
        return [f"oSlowFan{number:020}" for number in range(self.fans)]


class Talk(NamedTuple):
    """All that was said: each fan's results, the customer-service messages, the results of quick message 0, 1, ..."""

    by_fan: Mapping[str, Sequence[Result]]
    late: list[tuple[str, str]]
    quick: list[Result]


class Outcome(NamedTuple):
    """How many fans of a scenario got their answer once, with nothing else beside it, and how many did not.

    A fan who got the answer and something strange is in ``something_else``; one who got only that, in ``never`` too.
    ``strange`` counts the texts that nobody should have seen.
    """

    scenario: Scenario
    right_once: int
    twice: int
    never: int
    something_else: int
    runs: int
    quick_right: int
    quick_total: int
    quick_p50_ms: float
    quick_p99_ms: float
    quick_worst_ms: float
    memory_mb: float
    idle_mb: float
    ready_seconds: float
    strange: Counter[str]

    @property
    def ok(self) -> bool:
        """Tell whether every fan, slow or quick, got the right answer once and no handler ran again."""
        slow_right = self.right_once == self.runs == self.scenario.fans and not self.something_else
        return slow_right and self.quick_right == self.quick_total

    @property
    def missed(self) -> list[str]:
        """Say what of that which was to be reached was not, in words."""
        wanted = (
            ("quick p99", self.quick_p99_ms, self.scenario.below_p99_ms, "ms"),
            ("quick worst", self.quick_worst_ms, self.scenario.below_worst_ms, "ms"),
            ("memory", self.memory_mb, self.scenario.below_memory_mb, "MB"),
        )
        over = [
            f"{name} {found:,.0f} {unit}, not below {most:,g}"
            for name, found, most, unit in wanted
            if most is not None and found >= most
        ]
        return over if self.ok else ["not everybody was answered right, once", *over]


def outcome(
    scenario: Scenario,
    talk: Talk,
    runs: int,
    memory_mb: float,
    *,
    idle_mb: float = 0.0,
    ready_seconds: float = 0.0,
) -> Outcome:
    """Count what the fans of ``scenario`` got.

    The percentiles are those of quick messages sent from ``ready_seconds`` on; the worst is that of all.
    """
    verdicts, strange = _verdicts(scenario, talk)
    quick_texts = [_shown(result) for result in talk.quick]
    wrong = [text for number, text in enumerate(quick_texts) if text != f"quick {number}"]
    seconds = [result.seconds for result in talk.quick]
    p50_ms, p99_ms = _percentiles_ms(seconds[math.ceil(ready_seconds * scenario.quick_per_second) :])
    return Outcome(
        scenario=scenario,
        right_once=verdicts["right once"],
        twice=verdicts["twice"],
        never=verdicts["never"],
        something_else=verdicts["something else"],
        runs=runs,
        quick_right=len(talk.quick) - len(wrong),
        quick_total=len(talk.quick),
        quick_p50_ms=p50_ms,
        quick_p99_ms=p99_ms,
        quick_worst_ms=max(seconds, default=0.0) * 1000,
        memory_mb=memory_mb,
        idle_mb=idle_mb,
        ready_seconds=ready_seconds,
        strange=strange + Counter(wrong),
    )


def first_answer_seconds(scenario: Scenario, quick: Sequence[Result]) -> float:
    """Return how long after the first quick message any of them was answered; 0 where none was."""
    answered = [number / scenario.quick_per_second + one.seconds for number, one in enumerate(quick) if one.answered]
    return min(answered, default=0.0)


def _verdicts(scenario: Scenario, talk: Talk) -> tuple[Counter[str], Counter[str]]:
    """Return how many fans there are of each verdict, and what they saw that they should not have."""
    verdicts: Counter[str] = Counter()
    strange: Counter[str] = Counter()
    late = defaultdict(list)
    for openid, content in talk.late:
        late[openid].append(content)
    for openid, results in talk.by_fan.items():
        sees = [_first_shown(scenario, results[0]), *map(_shown, results[1:]), *late.pop(openid, [])]
        expected = [_ANSWER + openid if text == "ANSWER" else text for text in WAYS[scenario.way].sees]
        others = [text for text in sees if text not in expected]
        answers = sees.count(_ANSWER + openid)
        verdicts["right once"] += sees == expected
        verdicts["twice"] += answers > 1
        verdicts["never"] += answers == 0
        # Also the expected texts in another order.
        verdicts["something else"] += bool(others) or (answers == 1 and sees != expected)
        strange.update(others)
    verdicts["something else"] += len(late)  # customer-service messages to fans who were answered in time
    strange.update(f"late: {content}" for contents in late.values() for content in contents)
    return verdicts, strange


def _first_shown(scenario: Scenario, result: Result) -> str:
    """Return what the fan saw of the slow message; silence or a hold reply before the last delivery is too early."""
    early = scenario.way != "reply" and result.answered and result.deliveries < scenario.deliveries
    return f"{result.shown} (at delivery {result.deliveries})" if early else _shown(result)


def _shown(result: Result) -> str:
    return result.shown if result.answered else f"{result.shown} ({result.reason})"


def _percentiles_ms(seconds: list[float]) -> tuple[float, float]:
    if len(seconds) < 2:
        return (0.0, 0.0)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1000, cuts[98] * 1000
