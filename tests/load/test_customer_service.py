"""The stand-in for the customer-service API, as the server under load calls it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.load.customer_service import CustomerService, post_text


@pytest.fixture
def customer_service() -> Iterator[CustomerService]:
    with CustomerService() as server:
        yield server


def test_a_message_is_accepted_and_recorded(customer_service: CustomerService) -> None:
    post_text(customer_service.url, "oFan", "你好")
    post_text(customer_service.url, "oOther", "2")
    assert customer_service.messages == [("oFan", "你好"), ("oOther", "2")]


def test_a_refused_message_is_not_recorded(customer_service: CustomerService) -> None:
    customer_service.errcode = 48001
    with pytest.raises(RuntimeError, match="48001"):
        post_text(customer_service.url, "oFan", "hi")
    assert customer_service.messages == []


@pytest.mark.parametrize(
    ("path", "body", "errcode"),
    [
        ("?access_token=t", b'{"touser": "o", "msgtype": "text", "text": {"content": "1"}}', 0),
        ("", b'{"touser": "o", "msgtype": "text", "text": {"content": "1"}}', 41001),
        ("?access_token=t", b'{"touser": "o", "msgtype": "image", "image": {"media_id": "1"}}', 40008),
        ("?access_token=t", b'{"touser": "o", "msgtype": "text"}', 47001),
        ("?access_token=t", b"<xml>", 47001),
        ("?access_token=t", b"[]", 47001),
    ],
)
def test_it_answers_as_wechat_does(customer_service: CustomerService, path: str, body: bytes, errcode: int) -> None:
    url = f"{customer_service.url}/cgi-bin/message/custom/send{path}"
    with requests.Session() as http:
        http.trust_env = False
        assert http.post(url, data=body, timeout=5).json()["errcode"] == errcode


def test_another_path_is_not_there(customer_service: CustomerService) -> None:
    with requests.Session() as http:
        http.trust_env = False
        assert http.post(f"{customer_service.url}/cgi-bin/token", data=b"{}", timeout=5).status_code == 404


def test_many_at_once_are_all_recorded(customer_service: CustomerService) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: post_text(customer_service.url, f"oFan{number}", "hi"), range(200)))
    assert sorted(customer_service.messages) == sorted((f"oFan{number}", "hi") for number in range(200))
