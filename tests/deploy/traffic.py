"""Fans who write to a callback until a file is there: python -m tests.deploy.traffic URL TOKEN UNTIL-FILE.

Run in the network of a machine. Prints what they saw as JSON: the number of each answer, with the deliveries it took.
"""

import json
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from app.sandbox.messages import text_message
from app.sandbox.phone import Phone

FANS = 4
PAUSE_SECONDS = 0.03
"""Between two messages of a fan: what is installed meanwhile needs the processor, too."""


def main(url: str, token: str, until: str) -> None:
    """Let the fans write, each one message after another."""

    def write(openid: str) -> Counter[str]:
        seen: Counter[str] = Counter()
        with Phone(url, token, openid) as phone:
            for number in count():
                outcome = phone.deliver(text_message(openid, f"n{number}"))
                seen[f"{outcome.shown.replace(f'n{number}', 'n')} {outcome.deliveries}"] += 1
                if Path(until).exists() or threading.Event().wait(PAUSE_SECONDS):
                    return seen
        raise AssertionError

    with ThreadPoolExecutor(FANS) as pool:
        total: Counter[str] = sum(pool.map(write, [f"oFan{number:024}" for number in range(FANS)]), Counter())
    print(json.dumps(total))


if __name__ == "__main__":
    main(*sys.argv[1:])
