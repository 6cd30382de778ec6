"""Who is held, for which message, on which connection, until when."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.once.answer import ANSWER_SECONDS, DELIVERY_SECONDS
from app.once.held import DOUBT_SECONDS, Delivery, Held
from tests.once.parts import NotingCaller, Question

ARRIVED = 100.0


def delivery(key: str = "k", *, descriptor: int = -1, owner: str = "me", followed: bool = False) -> Delivery:
    one = Delivery(Question(), None if followed else NotingCaller(), ARRIVED)
    one.key, one.descriptor, one.owner = key, descriptor, owner
    return one


def of(caller: NotingCaller, *, is_last: bool = False) -> Delivery:
    one = Delivery(Question(), caller, ARRIVED)
    one.is_last = is_last
    return one


@pytest.fixture
def held() -> Held:
    return Held()


def test_an_answer_is_risked_while_wechat_surely_listens_and_on_a_slower_caller_after_the_doubt() -> None:
    one, times = of(NotingCaller()), (0, ANSWER_SECONDS - 0.1, ANSWER_SECONDS, DELIVERY_SECONDS, DOUBT_SECONDS)
    assert [one.can_carry(ARRIVED + after) for after in times] == [True, True, False, False, True]
    assert [one.is_in_doubt(ARRIVED + after) for after in times] == [True, True, True, True, False]


def test_no_answer_is_risked_later_where_it_cannot_be_seen_who_hangs_up() -> None:
    one = of(NotingCaller(is_seen=False))
    assert [one.can_carry(ARRIVED + after) for after in (0, ANSWER_SECONDS, DOUBT_SECONDS)] == [True, False, False]
    assert not one.is_in_doubt(ARRIVED)


@pytest.mark.parametrize("is_seen", [True, False])
def test_the_last_delivery_carries_the_answer_at_any_time(is_seen: bool) -> None:
    one = of(NotingCaller(is_seen=is_seen), is_last=True)
    assert all(one.can_carry(ARRIVED + after) for after in (0, ANSWER_SECONDS, DOUBT_SECONDS, 60))


def test_a_message_without_a_caller_is_never_in_doubt_and_carries_nothing_late() -> None:
    one = Delivery(Question(), None, ARRIVED)
    assert (one.is_in_doubt(ARRIVED), one.can_carry(ARRIVED + 60)) == (False, False)


def test_who_is_held_is_found_by_message_and_by_connection(held: Held) -> None:
    one, other, third = delivery(descriptor=7), delivery(descriptor=8), delivery("another")
    for each in (one, other, third):
        held.add(each, ARRIVED)
    assert (held.of("k"), held.of("another"), held.of("none")) == ([one, other], [third], [])
    assert (held.on(7), held.on(8), held.on(9), held.on(-1)) == (one, other, None, None)
    assert len(held) == 3


def test_who_was_removed_is_found_nowhere(held: Held) -> None:
    one = delivery(descriptor=7)
    held.add(one, ARRIVED)
    assert held.remove(one)
    assert (held.of("k"), held.on(7), held.due(math.inf), held.next_time()) == ([], None, [], math.inf)
    assert (len(held), held.has_any) == (0, False)


def test_one_thread_of_many_removes_a_delivery(held: Held) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            one = delivery()
            held.add(one, ARRIVED)
            assert sum(pool.map(held.remove, [one] * 8)) == 1


def test_a_connection_that_another_delivery_has_got_stays_when_the_former_is_removed(held: Held) -> None:
    former, later = delivery(descriptor=7), delivery(descriptor=7)
    held.add(former, ARRIVED)
    held.add(later, ARRIVED)
    held.remove(former)
    assert held.on(7) is later


def test_what_is_only_followed_is_kept_but_not_counted_among_the_held(held: Held) -> None:
    followed, waiting = delivery(followed=True), delivery()
    held.add(followed, ARRIVED)
    assert (len(held), held.has_any, held.followed()) == (0, True, [followed])
    held.add(waiting, ARRIVED)
    assert (len(held), held.followed()) == (1, [followed])
    held.remove(followed)
    held.remove(waiting)
    assert (len(held), held.has_any, held.followed()) == (0, False, [])


def test_who_waits_for_another_process_is_told_apart(held: Held) -> None:
    mine, theirs = delivery(owner="me"), delivery(owner="other")
    held.add(mine, ARRIVED)
    held.add(theirs, ARRIVED)
    assert held.elsewhere("me") == [theirs]


def test_each_is_looked_at_once_when_its_time_comes_the_first_first(held: Held) -> None:
    late, soon = delivery("late"), delivery("soon")
    held.add(late, 105.0)
    held.add(soon, 101.0)
    assert (held.next_time(), held.due(100.9)) == (101.0, [])
    assert (held.due(101.0), held.next_time(), held.due(101.0)) == ([soon], 105.0, [])
    assert held.due(200.0) == [late]
    assert held.next_time() == math.inf


def test_another_time_takes_the_place_of_the_one_before(held: Held) -> None:
    one = delivery()
    held.add(one, 101.0)
    held.wake_at(one, 103.0)
    assert (held.due(102.0), held.next_time()) == ([], 103.0)
    held.wake_at(one, 101.5)
    assert (held.due(102.0), held.due(200.0)) == ([one], [])


def test_who_need_not_be_looked_at_is_held_all_the_same(held: Held) -> None:
    one = delivery()
    held.add(one, math.inf)
    assert (held.next_time(), held.due(1e9), held.of("k")) == (math.inf, [], [one])
