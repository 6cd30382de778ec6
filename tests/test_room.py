"""Pages that ask WeChat's API leave threads to messages."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import Client

from app.room import Room
from tests.servers import wait_for


class Pages:
    """An application whose pages wait until ``end`` is set."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.inside = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] != "/wechat":
            self.inside += 1
            self.end.wait(20)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]


def test_the_ones_too_many_are_refused_at_once_and_messages_get_through() -> None:
    pages = Pages()
    client = Client(Room(pages, 2))
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(client.get, path) for path in ("/oauth/callback", "/jssdk")]
        wait_for(lambda: pages.inside == 2)
        refused = client.get("/console/")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert client.post("/wechat").status_code == 200
        pages.end.set()
        assert [page.result().status_code for page in waiting] == [200, 200]
    assert client.get("/oauth/login").status_code == 200


def test_a_page_that_fails_leaves_its_place() -> None:
    def fails(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ValueError("broken")

    client = Client(Room(fails, 1))
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            client.get("/jssdk")
