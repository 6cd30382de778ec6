"""The late delivery: by a customer-service message, or kept until the fan says the pickup word."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app import config
from app.errors import ApiError, BadReply
from app.once import late as module
from app.once.answer import Answer
from app.once.late import LateDelivery
from tests.once.parts import Question, ended, shared_cache

FAN, HOLD = "oFan", "say 1 later"

_ids = itertools.count(1)


class Words:
    """How the road words what a fan gets of a late answer."""

    def hold_reply(self, message: Any) -> str:
        return HOLD

    def to_pick_up(self, message: Any, answer: Answer) -> str:
        return f"picked up: {answer.value}"


class Account:
    """The late delivery of an account, with what it sent."""

    def __init__(self, late_reply: str = "auto", *, may_send: bool = True) -> None:
        self.cache = shared_cache()
        self.sent: list[tuple[str, Any]] = []
        self.fails_with: Exception | None = None
        settings = config.Settings(token="token", late_reply=late_reply)
        self.late = LateDelivery(settings, self.cache, Words(), self._send if may_send else None)

    def _send(self, openid: str, reply: Any) -> None:
        if self.fails_with:
            raise self.fails_with
        self.sent.append((openid, reply))

    def delivers(self, value: Any, key: str = "k", message: Question | None = None) -> None:
        answer = Answer("" if value is None else f"<xml>{value}</xml>", "replied", "handler", value)
        self.late.deliver(key, message or Question(FAN), answer)

    def picks_up(self, seconds: float = 0.0) -> str | None:
        """Return what the fan gets for the pickup word."""
        word = Question(FAN, {"MsgId": next(_ids)})
        collected: Answer | None = ended(self.late.collect(word, seconds))
        if collected:
            self.late.given(word, collected)
        return collected and collected.body.removeprefix("picked up: ")


@pytest.mark.parametrize("late_reply", ["auto", "customer_service"])
def test_a_late_answer_is_sent_and_nothing_waits(late_reply: str) -> None:
    account, message = Account(late_reply), Question(FAN)
    assert account.late.reply(message) == ""
    account.late.expect("k", message)
    account.delivers("done")
    assert account.sent == [(FAN, "done")]
    assert (account.picks_up(), account.late.waiting(FAN)) == (None, 0)


@pytest.mark.parametrize(
    ("late_reply", "may_send"), [("next_message", True), ("auto", False), ("customer_service", False)]
)
def test_without_a_way_to_send_it_waits_for_the_pickup_word(late_reply: str, may_send: bool) -> None:
    account, message = Account(late_reply, may_send=may_send), Question(FAN)
    assert account.late.reply(message) == HOLD
    account.late.expect("k", message)
    assert account.late.waiting(FAN) == 1
    account.delivers("done")
    assert account.sent == []
    assert [account.picks_up(), account.picks_up()] == ["done", None]


def test_a_setting_that_cannot_be_followed_is_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    Account("customer_service", may_send=False)
    assert "without a way to send" in caplog.text


def test_what_cannot_be_sent_waits_and_the_next_fans_are_told_so(caplog: pytest.LogCaptureFixture) -> None:
    account = Account()
    account.fails_with = RuntimeError("whatever")
    account.delivers("done")
    assert account.picks_up() == "done"
    assert account.late.reply(Question(FAN)) == HOLD
    assert "the customer-service message failed" in caplog.text


@pytest.mark.parametrize("errcode", [45015, 45047, 43004, 40003, 40007])
def test_what_only_this_fan_cannot_get_closes_the_way_for_nobody_else(errcode: int) -> None:
    account = Account()
    account.fails_with = ApiError(errcode, "no")
    account.delivers("done")
    account.fails_with = None
    assert account.picks_up() == "done"
    assert account.late.reply(Question(FAN)) == ""


@pytest.mark.parametrize("errcode", [48001, 40164, 45009, -1, None])
def test_what_concerns_all_fans_is_not_tried_again_at_once(errcode: int | None) -> None:
    account = Account()
    account.fails_with = ApiError(errcode, "no")
    account.delivers("done")
    account.fails_with = None
    assert account.late.reply(Question(FAN)) == HOLD
    account.delivers("next", "k2")
    assert account.sent == []
    assert [account.picks_up(), account.picks_up()] == ["done", "next"]


def test_what_the_operator_asked_for_is_tried_again_all_the_same() -> None:
    account = Account("customer_service")
    account.fails_with = ApiError(48001, "no")
    account.delivers("done")
    account.fails_with = None
    assert account.late.reply(Question(FAN)) == ""
    account.delivers("next", "k2")
    assert account.sent == [(FAN, "next")]


def test_of_an_answer_that_was_sent_in_part_only_the_rest_waits() -> None:
    account = Account()
    account.fails_with = error = ApiError(45047, "no")
    error.unsent = "the rest"
    account.delivers("the beginning and the rest")
    assert [account.picks_up(), account.picks_up()] == ["the rest", None]


def test_what_is_no_customer_service_message_waits_and_closes_the_way_for_nobody() -> None:
    account = Account()
    account.fails_with = BadReply("42 cannot be sent")
    account.delivers("done")
    assert account.picks_up() == "done"
    assert account.late.reply(Question(FAN)) == ""


def test_an_answer_of_which_only_the_xml_is_known_waits_as_it_is() -> None:
    account = Account()
    account.late.deliver("k", Question(FAN), Answer("<xml/>", "late"))
    assert account.sent == []
    assert account.late.waiting(FAN) == 1


def test_answers_come_in_the_order_in_which_they_were_asked() -> None:
    account = Account("next_message")
    for number in range(3):
        account.late.expect(f"k{number}", Question(FAN))
    for number in (2, 0, 1):
        account.delivers(f"answer {number}", f"k{number}")
    assert [account.picks_up() for _ in range(4)] == ["answer 0", "answer 1", "answer 2", None]


def test_the_word_said_too_early_waits_for_the_answer_and_then_says_that_it_is_late() -> None:
    account = Account("next_message")
    account.late.expect("k", Question(FAN))
    assert account.picks_up(0.1) == HOLD
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(account.picks_up, 10)
        account.delivers("done")
        assert early.result(5) == "done"


def test_the_word_stops_waiting_when_there_is_nothing_to_wait_for_any_more() -> None:
    account = Account("next_message")
    account.late.expect("k", Question(FAN))
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(account.picks_up, 60)
        account.delivers(None)
        assert early.result(5) is None


def test_a_handler_that_returned_none_leaves_nothing_to_wait_for() -> None:
    account = Account("next_message")
    account.late.expect("k", Question(FAN))
    account.delivers(None)
    assert (account.picks_up(), account.late.waiting(FAN)) == (None, 0)


def test_only_the_fan_who_asked_collects() -> None:
    account = Account("next_message")
    account.delivers("done")
    assert ended(account.late.collect(Question("oFan2"), 0)) is None
    assert account.picks_up() == "done"


def test_two_words_at_once_get_two_answers() -> None:
    account = Account("next_message")
    for number in range(8):
        account.delivers(f"answer {number}", f"k{number}")
    with ThreadPoolExecutor(8) as pool:
        collected = list(pool.map(lambda _: account.picks_up(), range(8)))
    assert sorted(collected, key=str) == [f"answer {number}" for number in range(8)]


def test_a_cache_that_is_away_for_a_moment_costs_no_answer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEEP_APART_SECONDS", 0)
    account = Account("next_message")
    take, tries = account.cache.set, itertools.count()
    monkeypatch.setattr(account.cache, "set", lambda *given: next(tries) >= 5 and take(*given))
    account.delivers("done")
    assert account.picks_up() == "done"
    assert "lost" not in caplog.text


def test_an_answer_that_the_cache_never_takes_is_said_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEEP_APART_SECONDS", 0)
    account = Account("next_message")
    monkeypatch.setattr(account.cache, "set", lambda *_: False)
    caplog.set_level("INFO")
    account.delivers("done")
    assert "a late answer is lost" in caplog.text
    assert [vars(one)["fields"]["way"] for one in caplog.records if one.message == "late answer"] == ["lost"]


def test_a_fan_who_leaves_leaves_nothing_waiting() -> None:
    account = Account("next_message")
    account.delivers("done")
    account.late.forget(FAN)
    assert (account.picks_up(), account.cache.get("k:late")) == (None, None)


@pytest.mark.parametrize("late_reply", ["customer_service", "next_message"])
def test_a_fan_who_left_while_the_handler_ran_gets_nothing(late_reply: str) -> None:
    account, message = Account(late_reply), Question(FAN, asked=1_700_000_000)
    account.late.expect("k", message)
    account.late.forget(FAN)
    assert account.late.has_left(message)
    account.delivers("done", message=message)
    assert (account.sent, account.picks_up()) == ([], None)


def test_a_fan_who_came_back_gets_what_was_asked_since() -> None:
    account, message = Account("next_message"), Question(FAN, asked=4_000_000_000)
    account.late.forget(FAN)
    assert not account.late.has_left(message)
    account.delivers("done", message=message)
    assert account.picks_up() == "done"


def test_a_late_answer_has_a_line_in_the_log_with_its_way(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Account("customer_service").delivers("done")
    Account("next_message").delivers("done")
    Account("next_message").delivers(None)
    said = [vars(record)["fields"] for record in caplog.records if record.message == "late answer"]
    assert [line["way"] for line in said] == ["customer_service", "next_message", "none"]
    assert FAN not in str(said)
