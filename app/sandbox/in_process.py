"""A fan's message to an application of this process, for tests of handlers; and such a test, made from a message."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from flask import Flask

from app.callback.seal import Seal
from app.callback.xml import read
from app.once.answer import DELIVERY_SECONDS
from app.sandbox.messages import renewed
from app.sandbox.phone import FAILURE_NOTICE, Outcome, Phone

_NAMED_BY = ("MsgType", "Event", "EventKey", "Content")


def deliver(app: Flask, message: str) -> Outcome:
    """Deliver the XML ``message`` as WeChat does, as a new one, and return what came of it; no server is needed.

    What is not answered within 5 seconds is delivered again, as often as WECHAT_DELIVERIES says.

    ``outcome.shown`` is what the fan sees: the text, "[图文] title url" and the like, "" for silence.
    """
    known, openid = app.config, str(read(message.encode())["FromUserName"])
    key = known["WECHAT_ENCODING_AES_KEY"]
    seal = Seal(key, known["WECHAT_APPID"]) if key else None
    with Phone("", known["WECHAT_TOKEN"], openid, known["WECHAT_ENCRYPT_MODE"], seal) as phone:
        query, body = phone.envelope(renewed(message))
        number, response = _answered(known["WECHAT_DELIVERIES"], lambda: _posted(app, query, body))
        if response.status_code == 200:
            return phone.judge(response.data, number)
    return Outcome(FAILURE_NOTICE, False, number, 0.0, f"the callback answered with status {response.status_code}")


def _posted(app: Flask, query: dict[str, str], body: bytes) -> Any:
    return app.test_client().post(app.config["WECHAT_PATH"], query_string=query, data=body)


def _answered(deliveries: int, post: Callable[[], Any]) -> tuple[int, Any]:
    """Return the number of the delivery that was answered in time, or of the last, and its answer."""
    with ThreadPoolExecutor(deliveries) as pool:
        for number in range(1, deliveries + 1):
            delivery = pool.submit(post)
            wait([delivery], DELIVERY_SECONDS if number < deliveries else None)
            if delivery.done():
                break
        return number, delivery.result()


def as_test(message: str, shown: str) -> str:
    """Return a test that delivers the XML ``message`` and expects that the fan sees ``shown``."""
    fields = read(message.encode())
    named = "_".join(str(fields[name]) for name in _NAMED_BY if fields.get(name))
    name = re.sub(r"\W+", "_", named.lower()).strip("_")[:60]
    lines = [
        "from app import create_app",
        "from app.sandbox.in_process import deliver",
        "",
        "",
        f"def test_{name}():",
        f"    message = {message!r}",
        f"    assert deliver(create_app(), message).shown == {shown!r}",
    ]
    return "\n".join(lines) + "\n"
