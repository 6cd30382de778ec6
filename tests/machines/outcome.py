"""What became of each fan, and of each run of a handler, when machines were lost."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import NamedTuple

from tests.faults.fans import Asked
from tests.machines.farm import Farm

ROWS: list[tuple[str, Callable[["Outcome"], int]]] = [
    ("answered by a delivery", lambda done: done.by_delivery),
    ("by a customer-service message", lambda done: done.by_message),
    ("by the pickup word", lambda done: done.by_pickup),
    ("never, its run being on a lost host", lambda done: len(done.never_cut)),
    ("never otherwise", lambda done: len(done.never)),
    ("twice, a run being on a lost host", lambda done: len(done.twice_cut)),
    ("twice otherwise", lambda done: len(done.twice)),
    ("saw WeChat's failure notice first", lambda done: len(done.strange)),
    ("runs of handlers", lambda done: done.runs),
    ("of them on lost hosts, and made again", lambda done: done.cut),
    ("messages whose handler ran again otherwise", lambda done: len(done.again)),
    ("access tokens fetched", lambda done: done.tokens),
]


class Outcome(NamedTuple):
    """Fans by what they got, by their names, and counts of the others.

    ``cut`` are the runs on lost hosts that were made again; ``again`` the fans with more than one run on the other
    hosts. ``never`` and ``twice`` are without those of whose runs one was on a lost host: ``never_cut``, ``twice_cut``.
    ``strange`` is what was shown and should not be, such as WeChat's failure notice. ``master`` is Redis' at the end.
    """

    fans: int
    by_delivery: int
    by_message: int
    by_pickup: int
    never: list[str]
    twice: list[str]
    never_cut: list[str]
    twice_cut: list[str]
    cut: int
    again: list[str]
    runs: int
    tokens: int
    master: str
    strange: list[str]


def outcome(running: Farm, asked: list[Asked], picked_up: set[str], lost: set[int], tokens: int) -> Outcome:
    """Count what the fans got, ``picked_up`` those who said the pickup word and got their answer.

    ``lost`` are the processes of the lost hosts, ``tokens`` is how often the access token was fetched.
    """
    messages = Counter((said["touser"], said["text"]["content"]) for said in running.api.wechat.messages)
    runs = defaultdict(list)
    for name, pid in running.runs:
        runs[name].append(pid in lost)
    answers = {
        one.openid: one.is_right + messages[one.openid, one.expected] + (one.openid in picked_up) for one in asked
    }
    never = [fan for fan, count in answers.items() if count == 0]
    twice = [fan for fan, count in answers.items() if count > 1]
    expected = {(one.openid, one.expected) for one in asked}
    strange = [str(one.result) for one in asked if not one.is_right and one.result[:2] != ("", True)]
    return Outcome(
        fans=len(asked),
        by_delivery=sum(one.is_right for one in asked),
        by_message=sum(messages[said] > 0 for said in expected),
        by_pickup=len(picked_up),
        never=[fan for fan in never if not any(runs[fan])],
        twice=[fan for fan in twice if not any(runs[fan])],
        never_cut=[fan for fan in never if any(runs[fan])],
        twice_cut=[fan for fan in twice if any(runs[fan])],
        cut=sum(sum(places) for places in runs.values() if not all(places)),
        again=[fan for fan, places in runs.items() if places.count(False) > 1],
        runs=sum(map(len, runs.values())),
        tokens=tokens,
        master=running.master,
        strange=strange + [str(said) for said in messages if said not in expected],
    )
