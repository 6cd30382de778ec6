"""The WSGI application with customer service: late answers go to the stand-in at LOAD_CUSTOMER_SERVICE."""

import os

from app import create_app
from tests.load.customer_service import post_text

_BASE_URL = os.environ["LOAD_CUSTOMER_SERVICE"]


def send_late(openid: str, reply: str) -> None:
    """Send a handler's late answer, here always a text; raises RuntimeError when it is refused."""
    post_text(_BASE_URL, openid, reply)


application = create_app(send_late=send_late)
