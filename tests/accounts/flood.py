"""Fans of one account who ask for the same again and again, in a process of their own, until they are ended.

Usage: python -m tests.accounts.flood URL TOKEN PER_SECOND WHAT ("slow 60", or "leave" for fans who unsubscribe)
"""

import itertools
import sys
import threading
import time

from app.sandbox.messages import event_message, text_message
from tests.load.load import allow_open_files
from tests.load.wechat import WeChat


def main() -> None:
    url, token, per_second, what = sys.argv[1:]
    allow_open_files()
    started = time.monotonic()
    with WeChat([url], token=token) as wechat:
        for number in itertools.count():
            threading.Event().wait(max(0.0, started + number / float(per_second) - time.monotonic()))
            openid = f"oFloodFan{number:019}"
            text = event_message(openid, "unsubscribe") if what == "leave" else text_message(openid, f"{what} {openid}")
            wechat.send(openid, text)


if __name__ == "__main__":
    main()
