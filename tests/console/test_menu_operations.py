"""What the buttons of the menu's editor do to a menu."""

from typing import Any

import pytest

from app.console.menu_draft import FIELDS, Draft, name_of, places, read, rest_of, subs_of, wanted
from app.console.menu_operations import operate, possible

A: dict[str, Any] = {"name": "a", "type": "click", "key": "A"}
B: dict[str, Any] = {"name": "b", "type": "view", "url": "https://example.com/"}
C: dict[str, Any] = {"name": "c", "type": "media_id", "media_id": "M"}
NEW: dict[str, Any] = {"name": "", "type": "click", "key": ""}
RULE = {"tag_id": "2"}


def sub(*buttons: Any, name: str = "s") -> dict[str, Any]:
    return {"name": name, "sub_button": list(buttons)}


def bar(*buttons: Any, **others: Any) -> Draft:
    return {"button": list(buttons), **others}


def form_of(draft: Draft) -> dict[str, str]:
    """Return the inputs that hold ``draft``."""
    form: dict[str, str] = {}
    for place, node in places(draft):
        held = node.get("matchrule", {}) if len(place) == 1 else node
        names = ("tag_id", "client_platform_type", "name", *(() if subs_of(place, node) else ("type", *FIELDS)))
        form |= {name_of(place, name): held[name] for name in names if name in held}
        form |= {name_of(place, "rest"): "{}"} if rest_of(place, node) == {} else {}
    return form


def after(draft: Draft, do: str) -> tuple[Draft, str]:
    assert do in possible(draft)
    return operate(form_of(draft), do)


@pytest.mark.parametrize(
    ("before", "do", "expected", "focus"),
    [
        (bar(), "add menu-0", bar(NEW), "menu-0-1-name"),
        (bar(A), "add menu-0", bar(A, NEW), "menu-0-2-name"),
        (bar(sub(A)), "add menu-0-1", bar(sub(A, NEW)), "menu-0-1-2-name"),
        (bar(A, B, C), "up menu-0-3", bar(A, C, B), "up menu-0-2"),
        (bar(A, B), "up menu-0-2", bar(B, A), "menu-0-1-name"),
        (bar(A, B, C), "down menu-0-1", bar(B, A, C), "down menu-0-2"),
        (bar(sub(A, B, C)), "up menu-0-1-3", bar(sub(A, C, B)), "up menu-0-1-2"),
        (bar(sub(A), B), "nest menu-0-2", bar(sub(A, B)), "menu-0-1-2-name"),
        (bar(sub(A, B), C), "out menu-0-1-1", bar(sub(B), A, C), "menu-0-2-name"),
        (bar(A, B), "remove menu-0-1", bar(B), "menu-0-1-name"),
        (bar(A, B), "remove menu-0-2", bar(A), "menu-0-1-name"),
        (bar(A), "remove menu-0-1", bar(), "add menu-0"),
        (bar(sub(A, B)), "remove menu-0-1-1", bar(sub(B)), "menu-0-1-1-name"),
    ],
)
def test_an_operation_changes_the_menu_and_says_where_the_focus_goes(
    before: Draft, do: str, expected: Draft, focus: str
) -> None:
    assert after(before, do) == (expected, focus)


def test_what_a_button_did_is_what_its_first_sub_button_does() -> None:
    assert after(bar(A), "add menu-0-1")[0] == bar(sub(A, NEW, name="a"))
    assert after(bar(A, B), "nest menu-0-2")[0] == bar(sub(A, B, name="a"))
    assert after(bar(NEW | {"name": "s"}), "add menu-0-1")[0] == bar(sub(NEW))


def test_a_button_without_its_last_sub_button_has_no_type() -> None:
    left = {"name": "s", "type": ""}
    assert after(bar(sub(A)), "remove menu-0-1-1") == (bar(left), "menu-0-1-name")
    assert after(bar(sub(A)), "out menu-0-1-1") == (bar(left, A), "menu-0-2-name")


def test_conditional_menus_are_added_moved_and_removed() -> None:
    one, other = bar(A, matchrule=RULE), bar(B, matchrule={"client_platform_type": "1"})
    both = bar(C, conditionalmenu=[one, other])
    added, focus = after(both, "add menu")
    assert (added["conditionalmenu"], focus) == ([one, other, bar(matchrule={})], "menu-3-tag_id")
    assert after(both, "up menu-2")[0]["conditionalmenu"] == [other, one]
    assert after(both, "add menu-2")[0]["conditionalmenu"][1]["button"] == [B, NEW]
    assert after(both, "remove menu-1") == (bar(C, conditionalmenu=[other]), "menu-1-tag_id")
    assert wanted(after(bar(C, conditionalmenu=[one]), "remove menu-1")[0]) == bar(C)


@pytest.mark.parametrize(
    ("draft", "impossible"),
    [
        (bar(A, B, C), ["add menu-0", "up menu-0-1", "down menu-0-3", "nest menu-0-1", "remove menu-0", "up menu-0"]),
        (bar(sub(A, A, A, A, A), B), ["add menu-0-1", "nest menu-0-2", "up menu-0-1-1", "down menu-0-1-5"]),
        (bar(sub(A), B, C), ["out menu-0-1-1", "add menu-0-1-1", "nest menu-0-1-1"]),
        (
            bar(A, sub(B)),
            ["nest menu-0-2", "drop menu-0-1", "up menu-1", "remove menu-0-9", "up menu-0-2-2", "", "x y"],
        ),
        (bar(), ["remove menu-0-1", "remove menu-1", "add menu-1", "add menu-0-1", "add menu-0-0", "down menu--1"]),
    ],
)
def test_what_is_impossible_is_not_offered_and_changes_nothing(draft: Draft, impossible: list[str]) -> None:
    assert not possible(draft) & set(impossible)
    for do in impossible:
        assert operate(form_of(draft), do) == (draft, "")


def test_a_button_keeps_what_it_holds_for_other_types_and_means_only_its_own() -> None:
    form = form_of(bar(A)) | {"menu-0-1-type": "view", "menu-0-1-url": "https://example.com/"}
    draft = read(form)
    assert wanted(draft) == bar({"name": "a", "type": "view", "url": "https://example.com/"})
    assert wanted(read(form_of(draft) | {"menu-0-1-type": "click"})) == bar(A)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"menu-0-1-rest": "{"},
        {"menu-0-1-rest": "[" * 100_000},
        {"menu-9999-name": "x", "menu-1-2-3-4-name": "x", "menu-x-name": "x", "menu-99999-name": "x", "menu-": "x"},
        {"menu-1-rest": "5", "menu-0-1-rest": "null", "menu-0-2-rest": '{"name": 5, "sub_button": {"list": 1}}'},
        {"menu-1-rest": '{"matchrule": []}', "menu-1-1-name": "x", "menu-0-1-1-name": "x"},
    ],
)
def test_a_form_that_no_page_has_raises_nothing(form: dict[str, str]) -> None:
    for do in possible(read(form)) | {"show"}:
        draft, _ = operate(form, do)
        assert isinstance(wanted(draft)["button"], list)
