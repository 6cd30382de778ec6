"""The client against a WeChat played locally over HTTP."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from wechatpy.exceptions import WeChatClientException

from app.api.client import Client
from app.cache import Cache
from app.errors import ApiError
from tests.servers import wait_for
from tests.wechat_server import APPSECRET, WeChatServer

TOKEN_PATH = "/cgi-bin/stable_token"
QUOTA_PATH = "/cgi-bin/openapi/quota/get"
SEND_PATH = "/cgi-bin/message/custom/send"


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.calls._PAUSES_SECONDS", (0.01, 0.01))


def ask(client: Client) -> int:
    return int(client.get_api_quota("/never/called")["used"])


def test_wechatpys_own_api_is_there(client: Client, server: WeChatServer) -> None:
    client.menu.create({"button": [{"type": "click", "name": "今日", "key": "A"}]})
    assert client.menu.get()["menu"]["button"][0]["name"] == "今日"
    client.menu.delete()
    assert client.menu.get() is None
    assert server.calls_of(TOKEN_PATH) == [0]


def test_many_cold_threads_fetch_one_token(server: WeChatServer, new_client: Callable[..., Client]) -> None:
    clients = [new_client() for _ in range(4)]
    with ThreadPoolExecutor(100) as pool:
        used = list(pool.map(lambda number: ask(clients[number % 4]), range(100)))
    assert len(used) == 100
    assert server.calls_of(TOKEN_PATH) == [0]
    assert server.calls_of(QUOTA_PATH) == [0] * 100


def test_a_token_is_renewed_before_its_end_and_used_meanwhile(server: WeChatServer, client: Client) -> None:
    server.wechat.set(expires_in=2)
    first = client.access_token
    server.wechat.set(expires_in=7200)
    server.wechat.fail(TOKEN_PATH, "stall", seconds=0.5, times=1)
    seen = {first}

    def is_renewed() -> bool:
        seen.add(client.access_token)
        return len(seen) > 1

    wait_for(is_renewed, what="another token")
    assert server.calls_of(TOKEN_PATH) == [0, 0]
    assert ask(client) == 0


@pytest.mark.usefixtures("_short_pauses")
def test_a_renewal_that_fails_leaves_the_old_token_in_use(
    server: WeChatServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    server.wechat.set(expires_in=6)
    first = client.access_token
    server.wechat.fail(TOKEN_PATH, errcode=-1)
    wait_for(lambda: client.access_token == first and "not renewed" in caplog.text, what="a failed renewal")
    assert client.access_token == first


@pytest.mark.parametrize("errcode", [40001, 40014, 42001])
def test_a_bad_token_is_replaced_and_the_call_made_once_more(
    errcode: int, server: WeChatServer, client: Client
) -> None:
    first = client.access_token
    server.wechat.revoke_token()
    server.wechat.fail(QUOTA_PATH, errcode=errcode, times=1)
    assert ask(client) == 0
    assert client.access_token != first
    assert server.calls_of(QUOTA_PATH) == [errcode, 0]
    assert server.calls_of(TOKEN_PATH) == [0, 0]


TICKET_PATH = "/cgi-bin/ticket/getticket"


def test_a_ticket_answered_with_minus_1000_leads_to_one_new_token(server: WeChatServer, client: Client) -> None:
    first = client.access_token
    server.wechat.fail(TICKET_PATH, errcode=-1000, times=1)
    assert client.jsapi_ticket
    assert client.access_token != first
    assert server.calls_of(TICKET_PATH) == [-1000, 0]


def test_a_ticket_that_stays_refused_costs_two_calls(server: WeChatServer, client: Client) -> None:
    server.wechat.fail(TICKET_PATH, errcode=-1000)
    for _ in range(3):
        with pytest.raises(ApiError, match="-1000"):
            client.get("ticket/getticket", params={"type": "jsapi"})
    assert len(server.calls_of(TICKET_PATH)) <= 4
    assert len(server.calls_of(TOKEN_PATH)) <= 3


def test_another_call_that_says_minus_1000_leaves_the_token_alone(server: WeChatServer, client: Client) -> None:
    server.wechat.fail(QUOTA_PATH, errcode=-1000)
    with pytest.raises(ApiError, match="-1000"):
        ask(client)
    assert server.calls_of(TOKEN_PATH) == [0]


def test_a_conditional_menu_is_deleted_by_its_id_as_a_text(client: Client) -> None:
    client.menu.create({"button": [{"type": "click", "name": "A", "key": "A"}]})
    rule = {"button": [{"type": "click", "name": "B", "key": "B"}], "matchrule": {"tag_id": "100"}}
    for turn in (int, str):
        client.menu.add_conditional(rule)
        client.menu.del_conditional(turn(client.get("menu/get")["conditionalmenu"][0]["menuid"]))
    assert "conditionalmenu" not in client.get("menu/get")


def test_a_token_that_somebody_else_replaced_is_not_fetched_again(
    server: WeChatServer, new_client: Callable[..., Client]
) -> None:
    ours, theirs = new_client(), new_client()
    first = ours.access_token
    server.wechat.revoke_token()
    assert ask(theirs) == 0
    assert ours._token.replace(first) == theirs.access_token
    assert server.calls_of(TOKEN_PATH) == [0, 0]


def test_a_refusal_of_every_token_costs_two_calls_and_no_more(server: WeChatServer, client: Client) -> None:
    server.wechat.fail(QUOTA_PATH, errcode=40001)
    with pytest.raises(ApiError, match="40001"):
        ask(client)
    assert server.calls_of(QUOTA_PATH) == [40001, 40001]
    for _ in range(20):  # and the next ones cost one each, and no token
        with pytest.raises(ApiError, match="40001"):
            ask(client)
    assert server.calls_of(QUOTA_PATH) == [40001] * 22
    # 1 at first, 1 in place of it, 1 by force since the same came back: the token is not what is wrong
    assert len(server.calls_of(TOKEN_PATH)) <= 3


def test_a_token_that_stays_bad_is_refreshed_by_force(server: WeChatServer, client: Client) -> None:
    first = client.access_token
    server.wechat.revoke_token(stubbornly=True)
    assert ask(client) == 0
    assert client.access_token != first
    assert server.calls_of(TOKEN_PATH) == [0, 0, 0]


def test_a_token_given_by_the_caller_is_never_replaced(server: WeChatServer, client: Client) -> None:
    with pytest.raises(ApiError, match="40001"):
        client.get("menu/get", params={"access_token": "theirs"})
    assert server.calls_of("/cgi-bin/menu/get") == [40001]
    assert server.calls_of(TOKEN_PATH) == []


@pytest.mark.parametrize(
    ("errcode", "todo"),
    [
        (40125, "WECHAT_APPSECRET"),
        (40164, "203.0.113.9"),
        (40243, "thaw"),
        (45009, "midnight"),
    ],
)
def test_after_some_errors_no_call_is_made_for_a_while_and_the_log_says_what_to_do(
    errcode: int, todo: str, server: WeChatServer, new_client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    with server.wechat.state.changed() as account:
        errmsg = "invalid ip 203.0.113.9 ipv6 ::ffff:203.0.113.9, not in whitelist"
        fault = {
            "path": TOKEN_PATH,
            "kind": "errcode",
            "errcode": errcode,
            "errmsg": errmsg,
            "left": None,
            "seconds": 0,
        }
        account["faults"] = [fault]
    clients = [new_client() for _ in range(3)]
    for client in clients * 5:
        with pytest.raises(ApiError, match=str(errcode)):
            ask(client)
    assert server.calls_of(TOKEN_PATH) == [errcode]
    said = [record.getMessage() for record in caplog.records if "To do:" in record.getMessage()]
    assert len(said) == 1
    assert todo in said[0]


def test_a_used_up_quota_pauses_its_own_call_alone(server: WeChatServer, client: Client) -> None:
    server.wechat.set(limits={QUOTA_PATH: 1})
    ask(client)
    for _ in range(3):
        with pytest.raises(ApiError, match="45009"):
            ask(client)
    assert server.calls_of(QUOTA_PATH) == [0, 45009]
    client.menu.delete()


def test_pauses_grow_and_end_with_a_call_that_goes_well(
    server: WeChatServer, client: Client, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.wechat.fail(TOKEN_PATH, errcode=40243)
    pauses, now = [], time.time()
    monkeypatch.setattr("app.api.pauses.time.time", lambda: now)
    monkeypatch.setattr("app.api.kept._FAILED_SECONDS", -1)
    for _ in range(8):
        with pytest.raises(ApiError, match="40243"):
            ask(client)
        pause = client._calls._pauses._read("account")
        assert pause is not None
        pauses.append(round(pause.until - now))
        now = pause.until + 0.1
    assert pauses == [30, 60, 120, 240, 480, 600, 600, 600]
    assert server.calls_of(TOKEN_PATH) == [40243] * 8
    server.wechat.heal()
    assert ask(client) == 0
    assert client._calls._pauses._read("account") is None


@pytest.mark.usefixtures("_short_pauses")
@pytest.mark.parametrize(("kind", "made"), [("cut", 3), ("html", 3), ("errcode", 3)])
def test_what_is_safe_to_repeat_is_repeated_twice(kind: str, made: int, server: WeChatServer, client: Client) -> None:
    client.access_token  # noqa: B018 (fetched here, apart from what is measured)
    server.wechat.fail(QUOTA_PATH, kind, errcode=-1)
    with pytest.raises(ApiError) as failed:
        ask(client)
    assert failed.value.errcode == (-1 if kind == "errcode" else None)
    assert len(server.calls_of(QUOTA_PATH)) == made
    server.wechat.fail(QUOTA_PATH, kind, errcode=-1, times=2)
    assert ask(client) >= 0


@pytest.mark.parametrize("kind", ["cut", "html", "errcode"])
def test_a_message_is_never_sent_twice(kind: str, server: WeChatServer, client: Client) -> None:
    server.wechat.fail(SEND_PATH, kind, errcode=-1)
    with pytest.raises(ApiError):
        client.message.send_text("oFan", "你好")
    assert len(server.calls_of(SEND_PATH)) == 1


def test_a_call_that_nobody_took_is_made_again_whatever_it_is(client: Client, settings: Callable[..., object]) -> None:
    client._calls.base_url = "http://127.0.0.1:1"
    started = time.monotonic()
    with pytest.raises(ApiError, match="cannot be reached"):
        client.without_token("post", "https://api.weixin.qq.com/cgi-bin/message/custom/send", data={})
    assert time.monotonic() - started >= 1.2  # two pauses


def test_a_wechat_that_says_nothing_is_given_up(
    server: WeChatServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.access_token  # noqa: B018
    monkeypatch.setattr("app.api.calls._TIMEOUT_SECONDS", (1, 0.3))
    server.wechat.fail(QUOTA_PATH, "stall", seconds=3, times=1)
    with pytest.raises(ApiError, match="no answer in time") as failed:
        ask(client)
    assert failed.value.errcode is None


def test_every_call_has_a_time_out(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    request = client._http.request

    def noted(*args: Any, **given: Any) -> Any:
        seen.append(given["timeout"])
        return request(*args, **given)

    monkeypatch.setattr(client._http, "request", noted)
    ask(client)
    client.qrcode.show(
        client.qrcode.create({"action_name": "QR_LIMIT_SCENE", "action_info": {"scene": {"scene_id": 1}}})
    )
    client.media.upload("image", ("a.png", b"x"))
    with pytest.raises(ApiError):
        client.without_token("get", "https://api.weixin.qq.com/sns/oauth2/access_token", params={"code": "x"})
    assert seen == [(3.0, 5.0)] * 4 + [(3.0, 30.0), (3.0, 5.0)]


def test_calls_with_a_host_of_their_own_go_to_the_base_url_too(server: WeChatServer, client: Client) -> None:
    with pytest.raises(ApiError, match="40066"):
        client.customservice.get_session("oFan")
    with pytest.raises(ApiError, match="40066"):
        client.semantic.search("x", "flight", uid="1")
    assert server.calls_of("/customservice/kfsession/getsession") == [40066]
    assert client.media.get_url("m").startswith(server.url)


def test_drafts_are_written_and_published(client: Client) -> None:
    article = {"title": "标题", "content": "<p>正文</p>", "thumb_media_id": "t"}
    made = client.draft.add([article])["media_id"]
    client.draft.update(made, {**article, "title": "新标题"})
    assert client.draft.get(made)["news_item"][0]["title"] == "新标题"
    assert (client.draft.count(), client.draft.batchget()["total_count"]) == (1, 1)
    published = client.freepublish.get(client.freepublish.submit(made)["publish_id"])["article_id"]
    assert client.freepublish.get_article(published)["news_item"][0]["title"] == "新标题"
    assert client.freepublish.batchget()["item"][0]["article_id"] == published
    client.freepublish.delete(published)
    assert client.draft.count() == 0


def test_quotas_are_read_and_cleared_and_a_rid_is_looked_up(server: WeChatServer, client: Client) -> None:
    client.menu.delete()
    assert client.get_api_quota("/cgi-bin/menu/delete")["used"] == 1
    client.clear_quota()
    assert client.get_api_quota("/cgi-bin/menu/delete")["used"] == 0
    with pytest.raises(ApiError) as refused:
        client.draft.get("nothing")
    assert refused.value.rid
    assert client.get_rid(refused.value.rid)["request_url"] == "/cgi-bin/draft/get"


def test_a_subscription_notice_is_sent(server: WeChatServer, client: Client) -> None:
    client.subscribe_message.send("oFan", "template", {"thing1": {"value": "到货"}}, page="https://example.com")
    sent = next(call for call in server.wechat.calls if call["path"].endswith("bizsend"))
    assert sent["body"]["data"] == {"thing1": {"value": "到货"}}


def test_wechatpys_exception_catches_a_refusal_too(client: Client) -> None:
    with pytest.raises(WeChatClientException) as refused:
        client.draft.get("nothing")
    assert isinstance(refused.value, ApiError)
    assert refused.value.errcode == 40007
    assert "older than 3 days" in str(refused.value)


def test_the_old_token_is_not_used_with_another_secret(
    server: WeChatServer, client: Client, new_client: Callable[..., Client]
) -> None:
    client.access_token  # noqa: B018
    with pytest.raises(ApiError, match="40125"):
        ask(new_client(WECHAT_APPSECRET=APPSECRET[::-1]))
    assert ask(client) == 0  # the pause is the other secret's


def test_a_cache_that_is_down_costs_a_token_for_each_process_and_not_for_each_call(
    server: WeChatServer, new_client: Callable[..., Client], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, otherwise in (("get", None), ("add", False), ("_set", None), ("delete", False)):
        monkeypatch.setattr(cache, name, lambda *_, otherwise=otherwise: otherwise)
    client = new_client()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: ask(client), range(20)))
    assert server.calls_of(TOKEN_PATH) == [0]
    server.wechat.revoke_token()
    assert ask(client) == 0
    assert server.calls_of(TOKEN_PATH) == [0, 0]


def test_who_waits_for_a_fetch_that_fails_fails_with_it(
    server: WeChatServer, new_client: Callable[..., Client]
) -> None:
    server.wechat.fail(TOKEN_PATH, errcode=40013, seconds=0.3)
    clients = [new_client() for _ in range(4)]
    barrier = threading.Barrier(20)

    def run(number: int) -> int | None:
        barrier.wait()
        with pytest.raises(ApiError) as failed:
            ask(clients[number % 4])
        return failed.value.errcode

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(run, range(20))) == [40013] * 20
    assert server.calls_of(TOKEN_PATH) == [40013]


def test_quotas_that_are_cleared_end_their_pauses(server: WeChatServer, client: Client) -> None:
    server.wechat.set(limits={QUOTA_PATH: 1})
    ask(client)
    with pytest.raises(ApiError, match="45009"):
        ask(client)
    client.clear_quota()
    assert ask(client) == 0


@pytest.mark.parametrize("errcode", [40001, 40013, 40125])
def test_a_wrong_secret_pauses_whatever_wechat_calls_it(
    errcode: int, server: WeChatServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.kept._FAILED_SECONDS", -1)
    server.wechat.fail(TOKEN_PATH, errcode=errcode)
    for _ in range(5):
        with pytest.raises(ApiError, match=str(errcode)):
            ask(client)
    assert server.calls_of(TOKEN_PATH) == [errcode]


def test_a_forced_refresh_that_fails_is_not_the_only_one(server: WeChatServer, client: Client) -> None:
    first = client.access_token
    tries: list[bool] = []
    fetch = client._token._fetch

    def fail_once(force: bool) -> tuple[str, float]:
        if force and not tries:
            tries.append(force)
            raise ApiError(-1, "busy")
        return fetch(force)

    client._token._fetch = fail_once
    server.wechat.revoke_token(stubbornly=True)
    with pytest.raises(ApiError, match="busy"):
        ask(client)
    client._token._failure = None
    client._token._cache.delete(client._token._key("failed"))
    assert ask(client) == 0
    assert client.access_token != first


def test_without_a_thread_for_the_renewal_the_old_token_is_used(
    server: WeChatServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.wechat.set(expires_in=60)
    first = client.access_token
    now = time.time()
    monkeypatch.setattr("app.api.kept.time.time", lambda: now + 40)

    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as starved:
        starved.setattr("app.api.kept.threading.Thread.start", no_thread)
        assert client.access_token == first
    wait_for(lambda: client.access_token != first, what="a renewal, when there are threads again")
