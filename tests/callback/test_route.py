"""Scenarios: a signed request goes in at the door, and what WeChat and the fan get comes out."""

import re
import threading
import time
from asyncio import CancelledError
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_from_bytes

import pytest

from app.callback import xml
from app.callback.seal import Seal
from app.callback.signature import sign
from app.sandbox.messages import text_message
from tests.actors import OPENID, Account
from tests.servers import AES_KEY, APPID, TOKEN

MODES = ["normal", "compatible", "safe"]
Open = Callable[..., Account]
OTHER_KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"


def echo(message: Any) -> str:
    return str(message.content)


def signed(token: str = TOKEN, age_seconds: int = 0, nonce: str = "7") -> dict[str, str]:
    timestamp = str(int(time.time()) - age_seconds)
    return {"timestamp": timestamp, "nonce": nonce, "signature": sign(token, timestamp, nonce)}


@pytest.mark.parametrize("mode", MODES)
def test_a_fan_gets_the_handlers_reply(account: Open, mode: str) -> None:
    assert account({"text": echo}, WECHAT_ENCRYPT_MODE=mode).say("你好 ]]> & <b>") == "你好 ]]> & <b>"


@pytest.mark.parametrize("mode", MODES)
def test_none_is_silence(account: Open, mode: str) -> None:
    opened = account({"text": lambda message: None}, WECHAT_ENCRYPT_MODE=mode)
    response = opened.post(*opened.phone.envelope(text_message(OPENID, "hi")))
    assert (response.status_code, response.data, response.mimetype) == (200, b"success", "text/plain")


def test_a_reply_is_xml_with_status_200(account: Open) -> None:
    opened = account({"text": echo})
    response = opened.post(*opened.phone.envelope(text_message(OPENID, "hi")))
    assert (response.status_code, response.mimetype) == (200, "application/xml")
    assert response.headers.getlist("Content-Length") == [str(len(response.data))]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("echostr", [b"4375120948345356249", b"a b+c&%", "回声".encode(), b"\xff\x00\xfe"])
def test_the_configuration_page_gets_its_echostr_byte_for_byte(account: Open, mode: str, echostr: bytes) -> None:
    query = signed()
    raw = "&".join(f"{name}={value}" for name, value in query.items()) + f"&echostr={quote_from_bytes(echostr)}"
    response = account(WECHAT_ENCRYPT_MODE=mode).client.get(f"/wechat?{raw}")
    assert (response.status_code, response.data, response.mimetype) == (200, echostr, "text/plain")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (dict, 403),
        (lambda: signed("another"), 403),
        (lambda: signed(age_seconds=302), 403),
        (lambda: signed(age_seconds=-302), 403),
        (lambda: signed() | {"signature": "<script>"}, 403),
        (signed, 400),
    ],
    ids=["nothing", "another token", "stale", "early", "garbage", "no echostr"],
)
def test_a_wrong_check_of_the_configuration_page_is_refused(
    account: Open, query: Callable[[], dict[str, str]], status: int
) -> None:
    echostr = {} if status == 400 else {"echostr": "<script>"}
    response = account().client.get("/wechat", query_string=query() | echostr)
    assert response.status_code == status
    assert b"script" not in response.data


def test_a_parameter_that_comes_twice_is_refused(account: Open) -> None:
    query = "&".join(f"{name}={value}" for name, value in signed().items())
    assert account().client.get(f"/wechat?{query}&echostr=1&nonce=7").status_code == 403


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_any_other_method_is_405(account: Open, method: str) -> None:
    response = account().client.open("/wechat", method=method, query_string=signed())
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, POST")


def test_the_path_is_a_setting(account: Open) -> None:
    opened = account({"text": echo}, WECHAT_PATH="/callback/x")
    assert opened.say("hi") == "hi"
    assert opened.client.get("/wechat").status_code == 404


@pytest.mark.parametrize("size", [65536, 65537])
def test_a_body_is_at_most_64_kib(account: Open, size: int) -> None:
    opened = account({"text": lambda message: "read"})
    message = text_message(OPENID, "{}")
    body = message.format("x" * (size - len(message) + 2)).encode()
    response = opened.post(signed(), body)
    assert len(body) == size
    assert response.status_code == (200 if size <= 65536 else 413)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "body", [b"", b"hello", b"<xml>", b"<xml></xml>", b"<xml><a>b</a></xml>", b"\xff\xfe", b'{"MsgType": "text"}']
)
def test_what_is_no_message_is_refused(account: Open, mode: str, body: bytes) -> None:
    status = account({"text": echo}, WECHAT_ENCRYPT_MODE=mode).post(signed(), body).status_code
    assert status == 400 or (mode == "safe" and body == b"<xml><a>b</a></xml>" and status == 403)


def test_a_body_that_breaks_off_is_refused(account: Open) -> None:
    opened = account({"text": echo})
    body = text_message(OPENID, "hi").encode()
    longer = {"CONTENT_LENGTH": "9999"}
    response = opened.client.post("/wechat", query_string=signed(), data=body, environ_overrides=longer)
    assert response.status_code == 400


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_signature_is_refused_and_runs_nothing(account: Open, mode: str) -> None:
    ran: list[Any] = []
    opened = account({"text": ran.append}, WECHAT_ENCRYPT_MODE=mode)
    query, body = opened.phone.envelope(text_message(OPENID, "secret words"))
    forged = query | dict.fromkeys(("signature", "msg_signature"), "0" * 40)
    response = opened.post(forged, body)
    assert (response.status_code, ran) == (403, [])
    assert b"secret words" not in response.data


def test_a_plaintext_body_in_safe_mode_is_refused(account: Open) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="safe")
    assert opened.post(signed(), text_message(OPENID, "hi").encode()).status_code == 403


def test_a_sealed_body_without_msg_signature_is_refused(account: Open) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="safe")
    query, body = opened.phone.envelope(text_message(OPENID, "hi"))
    del query["msg_signature"]
    assert opened.post(query, body).status_code == 403


def test_a_message_sealed_for_another_account_is_refused(account: Open) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="safe")
    opened.phone._seal = Seal(AES_KEY, "wx0000000000000000")
    assert opened.post(*opened.phone.envelope(text_message(OPENID, "hi"))).status_code == 403


def test_in_compatible_mode_what_is_sealed_counts(account: Open) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="compatible")
    query, body = opened.phone.envelope(text_message(OPENID, "sealed words"))
    lying = body.replace(b"sealed words", b"other words")
    assert lying != body
    assert opened.phone.judge(opened.post(query, lying).data).shown == "sealed words"


def test_in_compatible_mode_a_plaintext_message_is_answered_in_plaintext(account: Open) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="compatible")
    response = opened.post(signed(), text_message(OPENID, "hi").encode())
    assert xml.read_strictly(response.data)["Content"] == "hi"


def test_the_reply_is_sealed_with_the_key_that_opened_the_message(account: Open) -> None:
    new = {"WECHAT_ENCODING_AES_KEY": OTHER_KEY, "WECHAT_ENCODING_AES_KEY_PREVIOUS": AES_KEY}
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="safe", **new)
    assert opened.say("new key") == "new key"
    opened.phone._seal = Seal(AES_KEY, APPID)
    assert opened.say("old key") == "old key"


def test_the_reply_is_signed_with_the_token_that_signed_the_message(account: Open) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="safe", WECHAT_TOKEN="newToken", WECHAT_TOKEN_PREVIOUS=TOKEN)
    assert opened.say("new") == "new"
    opened.phone._token = TOKEN
    assert opened.say("old") == "old"


@pytest.mark.parametrize("mode", ["normal", "compatible"])
def test_a_captured_signature_cannot_carry_another_message(account: Open, mode: str) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE=mode)
    query, body = opened.phone.envelope(text_message(OPENID, "from the fan"))
    forged = text_message(OPENID, "from somebody else").encode()
    plain = {name: query[name] for name in ("signature", "timestamp", "nonce")}
    assert opened.post(query, body).status_code == 200
    assert opened.post(plain, forged).status_code == 403
    assert opened.post(query, body).status_code == 200


def test_the_signature_of_the_configuration_page_cannot_carry_a_message(account: Open) -> None:
    opened, query = account({"text": echo}), signed()
    assert [opened.client.get("/wechat", query_string=query | {"echostr": "1"}).status_code for _ in range(2)] == [
        200
    ] * 2
    assert opened.post(query, text_message(OPENID, "forged").encode()).status_code == 403


@pytest.mark.parametrize("mode", ["compatible", "safe"])
def test_a_nonce_cannot_hide_in_the_ciphertext(account: Open, mode: str) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE=mode)
    query, body = opened.phone.envelope(text_message(OPENID, "hi"))
    fields = xml.read_strictly(body)
    query["timestamp"], query["nonce"] = str(int(time.time())), "9"
    query["msg_signature"] = sign(TOKEN, query["timestamp"], query.pop("nonce"), fields["Encrypt"])
    moved = body.replace(b"<Encrypt><![CDATA[", b"<Encrypt><![CDATA[9")
    assert opened.post(query, moved).status_code == 403


@pytest.mark.parametrize("mode", MODES)
def test_a_redelivery_gets_the_same_reply_and_runs_nothing(account: Open, mode: str) -> None:
    runs: list[str] = []

    def count(message: Any) -> str:
        runs.append(message.openid)
        return f"run {len(runs)}"

    opened = account({"text": count}, WECHAT_ENCRYPT_MODE=mode)
    message = text_message(OPENID, "hi")
    same = opened.phone.envelope(message)
    shown = [opened.phone.judge(opened.post(*same).data).shown for _ in range(2)]
    assert [*shown, opened.deliver(message), opened.say("hi")] == ["run 1", "run 1", "run 1", "run 2"]


def test_a_redelivery_that_comes_while_the_handler_runs_waits_for_its_reply(account: Open) -> None:
    started, finish = threading.Event(), threading.Event()

    def slow(message: Any) -> str:
        started.set()
        assert finish.wait(10)
        return "at last"

    opened = account({"text": slow})
    message = text_message(OPENID, "hi")
    shown: list[str] = []
    deliveries = [threading.Thread(target=lambda: shown.append(opened.deliver(message))) for _ in range(2)]
    deliveries[0].start()
    assert started.wait(10)
    deliveries[1].start()
    finish.set()
    for delivery in deliveries:
        delivery.join()
    assert shown == ["at last", "at last"]


class Stop(SystemExit):
    """A handler that calls sys.exit."""


@pytest.mark.parametrize("error", [ValueError("broken"), RecursionError(), Stop(3), StopIteration(), CancelledError()])
@pytest.mark.parametrize("mode", MODES)
def test_a_handler_that_raises_is_answered_with_the_error_reply(
    account: Open, mode: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(message: Any) -> str:
        raise error

    assert account({"text": broken}, WECHAT_ENCRYPT_MODE=mode, WECHAT_ERROR_REPLY="坏了").say("hi") == "坏了"
    (record,) = [record for record in caplog.records if record.exc_info]
    assert re.fullmatch(r"broken failed on message \d{17}", record.getMessage())


def test_a_value_that_is_no_reply_is_an_error_that_says_what_is_expected(
    account: Open, caplog: pytest.LogCaptureFixture
) -> None:
    opened = account({"text": lambda message: 42})
    assert opened.say("hi") == opened.settings.error_reply
    assert "returned int; expected a str, a wechatpy reply" in caplog.text


def test_bad_numbers_are_an_error_of_that_message(account: Open) -> None:
    opened = account({"text": lambda message: str(message.create_time), "*": echo})
    bad = text_message(OPENID, "hi").replace("<CreateTime>", "<CreateTime>x")
    assert opened.deliver(bad) == opened.settings.error_reply
    assert opened.say("hi").startswith("20")


def test_the_log_suggests_the_row_that_is_missing(account: Open, caplog: pytest.LogCaptureFixture) -> None:
    opened = account({"image": echo})
    assert [opened.say("my secret"), opened.event("CLICK", "V1"), opened.event("SCAN", scene="p 7")] == ["", "", ""]
    assert account({"image": echo}, [lambda message, call_next: "answered"]).say("hi") == "answered"
    assert caplog.text.count("no row of HANDLERS") == 3
    for row in ("'text': your_handler,", "('event', 'click', 'V1'): your_handler,", "('event', 'scan', 'p 7'): your"):
        assert f"no row of HANDLERS takes this message; to answer it, add: {row}" in caplog.text
    assert "my secret" not in caplog.text


def test_a_refusal_is_logged_with_its_reason_and_nothing_of_the_request(
    account: Open, caplog: pytest.LogCaptureFixture
) -> None:
    account().post(signed("another"), b"<xml>body of a stranger</xml>")
    (record,) = [record for record in caplog.records if record.getMessage() == "refused"]
    assert vars(record)["fields"]["status"] == 403
    assert "WECHAT_TOKEN" in vars(record)["fields"]["reason"]
    assert "stranger" not in str(vars(record))


def test_a_flood_of_refusals_is_counted_and_not_said_one_by_one(
    account: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, now = account(), [1000.0]
    monkeypatch.setattr("log.time", SimpleNamespace(**vars(time) | {"monotonic": lambda: now[0]}))

    def refused() -> list[int]:
        assert opened.post(signed("another"), b"<xml/>").status_code == 403
        lines = [record for record in caplog.records if record.getMessage() == "refused"]
        return [vars(record)["fields"].get("unsaid", 0) for record in lines]

    for _ in range(50):
        said = refused()
    assert said == [0] * 20
    now[0] += 1
    assert refused() == [*said, 30]
    assert refused() == [*said, 30, 0]


def test_a_fan_may_write_what_looks_like_a_seal(account: Open) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="compatible")
    assert opened.say("<Encrypt>AAAA</Encrypt>") == "<Encrypt>AAAA</Encrypt>"


def test_a_sealed_message_may_come_without_the_plain_signature(account: Open) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="safe")
    query, body = opened.phone.envelope(text_message(OPENID, "hi"))
    del query["signature"]
    assert opened.phone.judge(opened.post(query, body).data).shown == "hi"


def test_a_strangers_sealed_body_is_refused_before_it_is_read(account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = account({"text": echo}, WECHAT_ENCRYPT_MODE="safe")
    query, body = opened.phone.envelope(text_message(OPENID, "hi"))
    monkeypatch.setattr(xml, "read", lambda body: pytest.fail("it is read"))
    query["msg_signature"] = "0" * 40
    assert opened.post(query, body).status_code == 403
    assert opened.post({}, b"<a>" * 20_000).status_code == 403


def test_each_message_is_one_line_in_the_log(account: Open, capfd: pytest.CaptureFixture[str]) -> None:
    opened = account({"text": echo})
    message = text_message(OPENID, "words of a fan")
    opened.deliver(message)
    opened.deliver(message)
    first, second = capfd.readouterr().err.splitlines()
    start = r"\S+ INFO wechat message type=text event=- openid=oTes\*\*\*0000"
    assert re.fullmatch(rf"{start} handler=echo ms=[\d.]+ delivery=1 outcome=replied", first)
    assert re.fullmatch(rf"{start} handler=- ms=[\d.]+ delivery=2 outcome=repeated", second)
