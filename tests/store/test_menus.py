"""The menu's revisions: each push is one, one at a time, and exactly one is current."""

import pytest
from flask import Flask
from sqlalchemy import update

from app.errors import StoreError
from app.store import transaction
from app.store.menus import begin_push, clear_current, current_revision, end_push, find_revision, revisions
from app.store.models import MenuRevision
from tests.servers import APPID, wait_for
from tests.store.conftest import together

OTHER_APPID = "wx0000000000000000"


def push(content: str, appid: str = APPID) -> MenuRevision:
    revision = begin_push(appid, content, "ops", "")
    assert revision
    end_push(revision, pushed=True)
    return revision


def begin() -> MenuRevision | None:
    return begin_push(APPID, "{}", "ops", "")


def end(revision: MenuRevision | None) -> None:
    assert revision
    end_push(revision, pushed=True)


def numbers(appid: str = APPID) -> list[int]:
    return [revision.number for revision in revisions(appid)]


def test_without_a_push_there_is_no_menu(store: Flask) -> None:
    assert (current_revision(APPID), find_revision(APPID, 1), revisions(APPID)) == (None, None, [])


def test_the_last_menu_that_was_pushed_is_the_current_one(store: Flask) -> None:
    for content in ("{}", '{"button": []}', '{"button": ["菜单🧧"]}'):
        push(content)
    current, second = current_revision(APPID), find_revision(APPID, 2)
    assert current
    assert (current.number, current.content, current.author) == (3, '{"button": ["菜单🧧"]}', "ops")
    assert second
    assert (second.content, second.current) == ('{"button": []}', None)
    assert numbers() == [3, 2, 1]
    assert [revision.number for revision in revisions(APPID, limit=2)] == [3, 2]


def test_a_menu_is_none_while_it_is_pushed_and_forgotten_where_that_failed(store: Flask) -> None:
    push("{}")
    revision = begin_push(APPID, "[]", "ops", "")
    assert revision
    assert (revision.number, numbers(), find_revision(APPID, 2)) == (2, [1], None)
    end_push(revision, pushed=False)
    current = current_revision(APPID)
    assert current
    assert (current.number, numbers()) == (1, [1])
    assert push("[]").number == 2


def test_nobody_else_pushes_to_the_account_meanwhile(store: Flask) -> None:
    revision = begin_push(APPID, "{}", "ops", "")
    assert revision
    assert begin_push(APPID, "[]", "ops", "") is None
    assert push("[]", OTHER_APPID).number == 1
    end_push(revision, pushed=True)
    assert push("[]").number == 2


def test_a_push_that_died_is_taken_over_after_two_minutes(store: Flask) -> None:
    for seconds, is_taken_over in ((110, False), (11, True)):
        if not is_taken_over:
            assert begin_push(APPID, "{}", "ops", "")
        with transaction() as session:
            session.execute(update(MenuRevision).values(created_at=MenuRevision.created_at - seconds))
        revision = begin_push(APPID, "[]", "ops", "")
        assert (revision is not None) == is_taken_over
    assert revision
    end_push(revision, pushed=True)
    assert [(found.number, found.content) for found in revisions(APPID)] == [(1, "[]")]


def test_an_account_without_a_menu_keeps_its_revisions(store: Flask) -> None:
    push("{}")
    push("{}", OTHER_APPID)
    clear_current(APPID)
    clear_current(APPID)
    assert current_revision(APPID) is None
    assert numbers() == [1]
    assert current_revision(OTHER_APPID)
    assert push("{}").number == 2


def test_long_names_and_notes_are_cut(store: Flask) -> None:
    revision = begin_push(APPID, "{}" * 10_000, "管" * 65, "备" * 256)
    assert revision
    end_push(revision, pushed=True)
    kept = current_revision(APPID)
    assert kept
    assert (kept.author, kept.note, kept.content) == ("管" * 64, "备" * 255, "{}" * 10_000)


def test_of_many_who_push_at_once_one_does(store: Flask) -> None:
    for _ in range(3):
        begun = together(store, [begin] * 10)
        won = [revision for revision in begun if revision]
        assert len(won) == 1
        end_push(won[0], pushed=True)
    assert numbers() == [3, 2, 1]


def test_after_pushes_of_several_threads_the_last_one_is_current(store: Flask) -> None:
    def push_in_turn() -> None:
        revision = wait_for(begin)
        end(revision)

    for _ in range(3):
        together(store, [push_in_turn] * 4)
    assert numbers() == list(range(12, 0, -1))
    assert [revision.number for revision in revisions(APPID) if revision.current] == [12]


def test_a_push_that_was_taken_for_dead_changes_nothing_when_it_ends(store: Flask) -> None:
    end(begin())
    late = begin()
    assert late
    with transaction() as session:
        session.execute(update(MenuRevision).where(MenuRevision.id == late.id).values(created_at=1))
    end(begin())
    with pytest.raises(StoreError, match="push once more"):
        end_push(late, pushed=True)
    current = current_revision(APPID)
    assert current
    assert current.number == 2
