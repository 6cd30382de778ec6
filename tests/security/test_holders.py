"""What somebody can do who holds a part of the service: the cache, the database, a key."""

import os
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import g
from redis import Redis
from redis.exceptions import NoPermissionError

from app.api import create_qrcode, get_api
from app.callback.seal import Seal
from app.callback.signature import sign
from app.oauth import openid_required
from app.sandbox.messages import text_message
from app.store.fans import keep_fan
from tests.actors import OPENID, Account
from tests.faults.redis_server import RedisServer
from tests.servers import AES_KEY, APPID, TOKEN
from tests.wechat_server import APPSECRET, WeChatServer

Open = Callable[..., Account]
SAID = "words that a fan says"
SECRET_KEY = "k" * 32


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running.url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


def text_of(redis: Redis, key: bytes) -> str:
    value = redis.get(key)
    assert isinstance(value, bytes)
    return value.decode()


def remember(message: Any) -> str:
    message.session["said"] = message.content
    return f"you said {message.content}"


class Evil:
    """A pickle that makes a folder where it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("protocol", [0, 4])
def test_who_writes_to_redis_runs_no_code(
    account: Open, redis: Redis, redis_url: str, tmp_path: Path, protocol: int
) -> None:
    opened = account({"text": remember}, WECHAT_CACHE_URL=redis_url)
    opened.app.testing = False
    same = opened.phone.envelope(text_message(OPENID, SAID))
    assert opened.post(*same).status_code == 200
    evil = pickle.dumps(Evil(tmp_path / "made"), protocol)
    keys = list(redis.scan_iter())
    for key in keys:
        redis.set(key, evil)
    # What is poisoned is lost: the message's other deliveries, and the fan's session.
    assert (opened.post(*same).status_code == 200) == (protocol == 4)  # which is no text, and stands for nothing
    assert opened.say(SAID) == f"you said {SAID}"
    somebody = opened.another_fan("oSomebodyElse")
    assert opened.deliver(text_message("oSomebodyElse", "hi"), somebody) == "you said hi"
    assert len(keys) >= 4
    assert not (tmp_path / "made").exists()
    pickle.loads(evil)
    assert (tmp_path / "made").exists()


def test_who_writes_to_redis_changes_what_fans_are_answered(account: Open, redis: Redis, redis_url: str) -> None:
    opened = account({"text": remember}, WECHAT_CACHE_URL=redis_url, WECHAT_ENCRYPT_MODE="safe")
    message = text_message(OPENID, SAID)
    assert opened.deliver(message) == f"you said {SAID}"
    (key,) = (key for key in redis.scan_iter() if key.endswith(b":answer"))
    redis.set(key, text_of(redis, key).replace(SAID, "something else"))
    assert opened.deliver(message) == "you said something else"


def test_a_redis_user_of_its_own_keeps_one_account_from_anothers_keys(
    account: Open, redis: Redis, redis_url: str
) -> None:
    redis.set("wx0000000000000000:session:oFan", '{"of":"another account"}')
    rights = ["+@all", "-@dangerous"]
    redis.acl_setuser("shop", enabled=True, passwords="+PASSWORD", keys=[f"{APPID}:*"], categories=rights)
    own = redis_url.replace("redis://", "redis://shop:PASSWORD@")
    opened = account({"text": remember}, WECHAT_CACHE_URL=own, WECHAT_APPID=APPID)
    same = opened.phone.envelope(text_message(OPENID, SAID))
    assert [opened.post(*same).status_code for _ in range(2)] == [200, 200]
    assert len(list(redis.scan_iter(f"{APPID}:*"))) >= 4
    with Redis.from_url(own) as shop, pytest.raises(NoPermissionError):
        shop.get("wx0000000000000000:session:oFan")


def test_while_the_cache_is_down_a_captured_signature_carries_any_message(account: Open, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as running:
        opened = account({"text": remember}, WECHAT_CACHE_URL=running.url)
        query, body = opened.phone.envelope(text_message(OPENID, SAID))
        forged = text_message(OPENID, "forged").encode()
        assert [opened.post(query, sent).status_code for sent in (body, forged)] == [200, 403]
        running.kill()
        assert opened.post(query, forged).status_code == 200


def test_who_reads_redis_has_the_access_token_and_no_other_secret(
    account: Open, server: WeChatServer, redis: Redis, redis_url: str
) -> None:
    settings = server.settings | {"WECHAT_ENCODING_AES_KEY": AES_KEY, "WECHAT_SECRET_KEY": SECRET_KEY}
    opened = account({"text": remember}, WECHAT_CACHE_URL=redis_url, WECHAT_ENCRYPT_MODE="safe", **settings)
    assert opened.say(SAID) == f"you said {SAID}"
    with opened.app.app_context():
        token = get_api().client.access_token
        get_api().client.jsapi_ticket  # noqa: B018 (asked for, so that it is kept)
    kept = " ".join(f"{key.decode()} {text_of(redis, key)}" for key in redis.scan_iter())
    assert [secret for secret in (token, OPENID, SAID) if secret not in kept] == []
    assert [secret for secret in (TOKEN, AES_KEY, APPSECRET, SECRET_KEY) if secret in kept] == []


def test_who_reads_the_database_has_fans_and_no_secret(account: Open, server: WeChatServer, tmp_path: Path) -> None:
    settings = server.settings | {"WECHAT_ENCODING_AES_KEY": AES_KEY, "WECHAT_SECRET_KEY": SECRET_KEY}
    opened = account({"text": remember}, WECHAT_ENCRYPT_MODE="safe", **settings)
    assert opened.say(SAID) == f"you said {SAID}"
    with opened.app.app_context():
        token = get_api().client.access_token
        keep_fan(APPID, OPENID, {"nickname": "a nickname"})
    with sqlite3.connect(tmp_path / "wechat.db") as connection:
        kept = "\n".join(connection.iterdump())
    connection.close()
    assert OPENID in kept
    assert [secret for secret in (TOKEN, AES_KEY, APPSECRET, SECRET_KEY, token, SAID) if secret in kept] == []


def test_who_writes_to_the_database_changes_what_is_handed_out(
    account: Open, server: WeChatServer, tmp_path: Path
) -> None:
    opened = account({"text": remember}, **server.settings)
    with opened.app.app_context():
        assert create_qrcode("poster").url.startswith("http://weixin.qq.com/q/")
        with sqlite3.connect(tmp_path / "wechat.db") as connection:
            connection.execute("UPDATE qr_code SET url = 'http://elsewhere.example/'")
        connection.close()
        assert create_qrcode("poster").url == "http://elsewhere.example/"


def test_the_aes_key_alone_opens_messages_and_forges_none(account: Open) -> None:
    opened = account({"text": remember}, WECHAT_ENCRYPT_MODE="safe")
    query, body = opened.phone.envelope(text_message(OPENID, SAID))
    encrypt = body.decode().partition("<Encrypt><![CDATA[")[2].partition("]]>")[0]
    assert SAID.encode() in Seal(AES_KEY, APPID).unseal(encrypt)
    other = Seal(AES_KEY, APPID).seal(text_message(OPENID, "forged").encode())
    assert opened.post(query, body.replace(encrypt.encode(), other.encode())).status_code == 403
    signed = query | {"msg_signature": sign("anotherToken", query["timestamp"], query["nonce"], other)}
    assert opened.post(signed, body.replace(encrypt.encode(), other.encode())).status_code == 403


def test_who_has_the_secret_key_is_any_fan_who_has_logged_in(account: Open, server: WeChatServer) -> None:
    opened = account(**server.settings, WECHAT_SECRET_KEY=SECRET_KEY)
    opened.app.add_url_rule("/me", view_func=openid_required()(lambda: str(g.fan.openid)))
    with opened.app.app_context():
        keep_fan(APPID, OPENID, {})
    serializer = opened.app.session_interface.get_signing_serializer(opened.app)  # type: ignore[attr-defined]
    for openid, status in ((OPENID, 200), ("oNobody", 302)):
        cookie = serializer.dumps({"fan": {"openid": openid, "scope": "snsapi_base", "snapshot": False}})
        opened.client.set_cookie(f"wechat_{APPID}", cookie)
        assert opened.client.get("/me").status_code == status


def test_two_accounts_with_one_token_take_each_others_messages(account: Open) -> None:
    first, second = account({"text": remember}), account({"text": remember})
    same = first.phone.envelope(text_message(OPENID, SAID))
    assert [opened.post(*same).status_code for opened in (first, second)] == [200, 200]
    third = account({"text": remember}, WECHAT_TOKEN=f"{TOKEN}2")
    assert third.post(*same).status_code == 403
