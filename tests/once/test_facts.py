"""The facts of a message: each is set once, by whoever comes first."""

import pytest

from app.cache import Cache
from app.once.facts import LATE, Decision, Facts, decision
from tests.once.parts import shared_cache

KEY = "wx0:message:oFan:1"


@pytest.fixture
def cache() -> Cache:
    return shared_cache()


@pytest.fixture
def facts(cache: Cache) -> Facts:
    return Facts(cache, deliveries=3, keep_seconds=60)


def test_a_message_has_one_key_and_another_message_has_another(facts: Facts) -> None:
    assert facts.key_of(("oFan", "1")) == KEY
    assert len({facts.key_of(identity) for identity in (("oFan", "1"), ("oFan", "2"), ("oFan2", "1"))}) == 3


def test_the_first_claim_stands_until_it_is_taken_back(facts: Facts) -> None:
    assert [facts.claim(KEY, '"a"'), facts.claim(KEY, '"b"')] == ['"a"', '"a"']
    facts.unclaim(KEY)
    assert facts.claim(KEY, '"b"') == '"b"'


def test_each_run_after_a_death_is_claimed_once_and_beside_the_others(facts: Facts) -> None:
    facts.claim(KEY, '"a"')
    assert [facts.claim_again(KEY, 2, '"b"'), facts.claim_again(KEY, 2, '"c"')] == ['"b"', '"b"']
    assert facts.claim_again(KEY, 3, '"c"') == '"c"'
    assert facts.claim(KEY, '"d"') == '"a"'


def test_further_deliveries_are_counted_from_two_and_those_too_many_are_one_more_than_the_last(facts: Facts) -> None:
    facts.claim(KEY, '"first"')
    assert [facts.count(KEY, f'"{name}"') for name in "abcd"] == [2, 3, 4, 4]


def test_where_one_delivery_is_counted_on_each_further_one_is_too_many(cache: Cache) -> None:
    assert Facts(cache, deliveries=1, keep_seconds=60).count(KEY, '"a"') == 2


@pytest.mark.parametrize("body", ["", "你好", '<xml>"quoted"\\\n\u2028</xml>'])
def test_the_first_decision_stands_and_keeps_the_answer_as_it_is(facts: Facts, body: str) -> None:
    reply = Decision("reply", body)
    assert facts.decided(KEY) is None
    assert facts.decide(KEY, reply) == reply
    assert facts.decide(KEY, LATE) == facts.decide(KEY, Decision("waiting", "another")) == facts.decided(KEY) == reply


def test_a_late_answer_has_no_body(facts: Facts) -> None:
    facts.decide(KEY, LATE)
    assert facts.decided(KEY) == LATE == ("late", "")


def test_a_decision_is_found_in_the_cache_where_others_look_for_it(facts: Facts, cache: Cache) -> None:
    facts.decide(KEY, Decision("waiting", "你好"))
    assert decision(cache.get(facts.answer_key(KEY)) or "") == Decision("waiting", "你好")


def test_any_delivery_carries_an_answer_that_a_delivery_carries_and_no_late_one_does(facts: Facts) -> None:
    assert not facts.is_carried(KEY)
    assert [facts.carry(KEY), facts.carry(KEY), facts.carry(KEY, "claim a")] == [True, True, False]
    assert facts.is_carried(KEY)


def test_one_late_delivery_carries_an_answer_and_no_other_delivery_does(facts: Facts) -> None:
    assert [facts.carry(KEY, by) for by in ("claim a", "claim b", "", "claim a")] == [True, False, False, True]


def test_what_was_given_back_is_carried_by_who_comes_next(facts: Facts) -> None:
    facts.carry(KEY)
    facts.give_back(KEY)
    assert not facts.is_carried(KEY)
    assert facts.carry(KEY, "claim a")


def test_what_a_delivery_has_brought_no_other_one_gives_back(facts: Facts) -> None:
    facts.carry(KEY)
    facts.note_delivered(KEY)
    facts.give_back(KEY)
    assert [facts.carry(KEY), facts.carry(KEY, "claim a")] == [True, False]


def test_without_a_cache_everybody_is_first(facts: Facts, cache: Cache) -> None:
    cache.add = lambda *_: False
    assert [facts.claim(KEY, '"a"'), facts.claim(KEY, '"b"')] == ['"a"', '"b"']
    assert [facts.decide(KEY, LATE), facts.decide(KEY, Decision("reply", "x"))] == [LATE, Decision("reply", "x")]
    assert [facts.carry(KEY), facts.carry(KEY, "claim a")] == [True, True]
