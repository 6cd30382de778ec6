"""A program that sends messages through ``create_app``, of which one is answered late: what do they leave behind?"""

import threading
import time
from typing import Any

from app import create_app
from app.once.answer import ANSWER_SECONDS
from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.servers import TOKEN

OPENID = "oFanOfTheCache00000000000000"
TOO_LATE = threading.Event()


def remember(message: Any) -> str:
    message.session["文"] = "会话"
    return "remembered"


def be_late(message: Any) -> str:
    TOO_LATE.wait(20)
    return "迟到的回复"


def refuse(openid: str, reply: Any) -> None:
    raise PermissionError("api unauthorized")


HANDLERS = {("text", "late"): be_late, "text": remember}


def main() -> None:
    """Print what is answered to a message, to its redelivery and to one with a tenth of a second left."""
    client, phone = create_app(send_late=refuse).test_client(), Phone("", TOKEN, OPENID)
    query, body = phone.envelope(text_message(OPENID, "hi"))
    late_query, late_body = phone.envelope(text_message(OPENID, "late"))
    for _ in range(2):
        print(phone.judge(client.post("/wechat", query_string=query, data=body).data).shown)
    received = {"RECEIVED_AT": str(time.time() - ANSWER_SECONDS + 0.1)}
    answer = client.post("/wechat", query_string=late_query, data=late_body, environ_overrides=received)
    print(answer.text)
    TOO_LATE.set()
    for thread in threading.enumerate():
        if thread.name == "handler":
            thread.join()
