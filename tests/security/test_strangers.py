"""What somebody for whom no signature, password or code vouches leaves in the shared cache: nothing that grows."""

from collections import Counter
from collections.abc import Callable

import pytest
from flask import Flask

from tests.actors import Account
from tests.wechat_server import WeChatServer

Open = Callable[..., Account]
SITE = "https://wx.example.com"
# The JS-SDK's ticket and the token for it, and what /readyz tries: one each, however often.
CONSTANT = {"probe", "api"}


def kinds(app: Flask) -> Counter[str]:
    cache = app.extensions["wechat_api"].cache
    return Counter(key.split(":")[1] for room in (cache, cache.fans) for key in room._backend._cache)


def ask_for_everything(app: Flask, address: str, number: int) -> None:
    """Ask for every page with every method, as a stranger who makes up what can be made up."""
    made_up = {"code": f"c{number}", "next": f"/{number}", "url": f"{SITE}/{number}"}
    made_up |= {"signature": "0" * 40, "timestamp": "1", "nonce": str(number), "echostr": "e", "openid": f"o{number}"}
    form = {"operator": f"me{number}", "password": f"wrong{number}", "once": str(number), "choice": "allow"}
    site = "http://localhost" if address == "127.0.0.1" else SITE
    for rule in app.url_map.iter_rules():
        client = app.test_client()
        begun = client.get("/oauth/login", query_string={"next": f"/{number}"}, base_url=SITE).headers["Location"]
        asked = {**made_up, "state": begun.partition("state=")[2].partition("#")[0]}
        given = {name: "png" if name == "kind" else number for name in rule.arguments}
        path = app.url_map.bind("").build(rule.endpoint, given)
        for method in ("GET", "POST"):
            client.open(
                path,
                method=method,
                query_string=asked,
                data=form if method == "POST" else None,
                base_url=site,
                headers={"Origin": site},
                environ_overrides={"REMOTE_ADDR": address},
            )


@pytest.fixture
def app(account: Open, server: WeChatServer) -> Flask:
    own = {"WECHAT_ADMIN_PASSWORD": "a password of the console", "WECHAT_PUBLIC_URL": SITE}
    return account({"*": print}, **{**server.settings, **own}).app


def test_a_stranger_leaves_nothing_in_the_cache_that_grows(app: Flask) -> None:
    ask_for_everything(app, "203.0.113.1", 1)
    once = kinds(app)
    for number in range(2, 5):
        ask_for_everything(app, f"203.0.113.{number}", number)
    assert kinds(app) == once
    assert once.keys() <= CONSTANT


def test_of_who_may_try_the_password_five_attempts_an_address_are_kept(app: Flask) -> None:
    for number in range(8):
        ask_for_everything(app, "127.0.0.1", number)
    kept = kinds(app)
    assert kept.pop("attempt") == 5
    assert kept.keys() <= CONSTANT
    cache = app.extensions["wechat_api"].cache
    assert not [key for key in cache._backend._cache if ":attempt:" in key]  # they are in the room of fans
