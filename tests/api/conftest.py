"""A service whose account is played by a local WeChat."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from flask import Flask

from app import create_app
from app.api.client import Client
from app.cache import Cache, connect
from app.config import Settings
from app.store import db
from tests.servers import APPID
from tests.wechat_server import WeChatServer


@pytest.fixture
def cache() -> Cache:
    return connect("memory://", APPID)


@pytest.fixture
def new_client(
    server: WeChatServer, cache: Cache, settings: Callable[..., Settings]
) -> Iterator[Callable[..., Client]]:
    """Return a function that makes a client of the account: each is as one of another process."""
    with ExitStack() as stack:

        def make(shared: Cache | None = None, **more: str) -> Client:
            client = Client(settings(**{**server.settings, **more}), shared or cache)
            stack.callback(client._http.close)
            return client

        yield make


@pytest.fixture
def client(new_client: Callable[..., Client]) -> Client:
    return new_client()


@pytest.fixture
def app(server: WeChatServer, settings: Callable[..., Settings]) -> Iterator[Flask]:
    """The service, with its database."""
    made = create_app(settings(**server.settings))
    yield made
    with made.app_context():
        db.engine.dispose()
        made.extensions["wechat_api"].client._http.close()
