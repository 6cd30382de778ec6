"""The rules of WeChat for a menu, so far as they can be checked before it is sent."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from app.api.menu_form import as_pushed, default_of, listed
from app.api.menu_wrong import Wrong, json_type, near, not_a, quoted, wrong_list, wrong_names, wrong_text

TYPES: dict[str, tuple[str, ...]] = {
    "click": ("key",), "view": ("url",), "miniprogram": ("url", "appid", "pagepath"),
    "scancode_push": ("key",), "scancode_waitmsg": ("key",), "location_select": ("key",),
    "pic_sysphoto": ("key",), "pic_photo_or_album": ("key",), "pic_weixin": ("key",),
    "media_id": ("media_id",), "view_limited": ("media_id",),
    "article_id": ("article_id",), "article_view_limited": ("article_id",),
}  # fmt: skip
"""Each type of button and the fields that it must have."""
_MOST_BYTES = {"key": 128, "url": 1024}
_MOST_NAME_BYTES, _MOST_SUB_NAME_BYTES = 16, 60
MOST_BUTTONS, MOST_SUB_BUTTONS, _MOST_CONDITIONAL_HOSTS = 3, 5, 3
_BUTTON_FIELDS = ("name", "type", "sub_button", "key", "url", "appid", "pagepath", "media_id", "article_id")
_MENU_FIELDS = ("button", "conditionalmenu", "matchrule", "menu", "menuid")
# What a conditional menu may ask for, and how it is written.
MATCHRULE = {
    "tag_id": ("[0-9]+", "the number of a tag"),
    "client_platform_type": ("[123]", "1 (iOS), 2 (Android) or 3 (others)"),
}


class Problem(NamedTuple):
    """Something that is wrong, and where.

    ``place`` is (bar,), (bar, button) or (bar, button, sub-button): bar 0 is the default menu, n the n-th conditional
    one, buttons count from 1; () are the conditional menus together. ``where`` is the same in words.
    """

    place: tuple[int, ...]
    where: str
    wrong: Wrong

    @property
    def line(self) -> str:
        """The problem in one line, which names the button."""
        return f"{self.where}: {self.wrong.text}"


class Checked(NamedTuple):
    """What WeChat would refuse, and what it takes but nobody answers; a line names its button."""

    problems: list[str]
    warnings: list[str]


def check(menu: Any, takes_click: Callable[[str], bool] | None = None) -> Checked:
    """Find what WeChat would refuse in ``menu``, and the clicks that nobody answers.

    ``menu`` is what ``json.load`` returned: {"button": [...]} or {"menu": {"button": [...]}}, and in both
    "conditionalmenu": [{"button": [...], "matchrule": {...}}] if there are any. ``takes_click`` says whether a handler
    takes the click on this key; without it there are no warnings. Whatever the JSON is, nothing is raised.
    """
    warnings = find_warnings(menu, takes_click) if takes_click else ()
    return Checked([problem.line for problem in find_problems(menu)], [warning.line for warning in warnings])


def find_problems(menu: Any) -> Iterator[Problem]:
    """Yield what WeChat would refuse in ``menu``, as ``check`` takes it."""
    # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Creating_Custom-Defined_Menu.html
    # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Personalized_menu_interface.html
    menu = as_pushed(menu)
    for number, bar in enumerate(_bars(menu)):
        where = f"conditional menu {number}" if number else "the menu"
        for wrong in _wrong_conditional(bar) if number else _wrong_menu(menu):
            yield Problem((number,), where, wrong)
        for place, where, button in _walk(number, bar):
            for wrong in _wrong_button(button, len(place) == 3):
                yield Problem(place, where, wrong)
    links = {_host(button) for bar in _bars(menu)[1:] for _, _, button in _walk(1, bar)} - {""}
    if len(links) > _MOST_CONDITIONAL_HOSTS:
        text = f"link to {len(links)} hosts, {', '.join(sorted(links))}; WeChat takes {_MOST_CONDITIONAL_HOSTS} in all"
        yield Problem((), "the conditional menus", Wrong("url", "hosts", text, _MOST_CONDITIONAL_HOSTS))


def find_warnings(menu: Any, takes_click: Callable[[str], bool]) -> Iterator[Problem]:
    """Yield the clicks in ``menu`` that WeChat would take and no handler takes."""
    for number, bar in enumerate(_bars(menu)):
        for place, where, button in _walk(number, bar):
            is_fine = not any(_wrong_button(button, len(place) == 3))
            if is_fine and button.get("type") == "click" and not takes_click(button["key"]):
                key = quoted(button["key"])
                text = f'no handler has a row for the click on key {key}; it would be ("event", "click", {key}): ...'
                yield Problem(place, where, Wrong("key", "click", text))


def _bars(menu: Any) -> list[Any]:
    return [default_of(menu), *listed(menu, "conditionalmenu")]


def _host(button: Any) -> str:
    url = button.get("url") if isinstance(button, dict) and button.get("type") == "view" else None
    found = re.match(r"https?://([^/?#]+)", url) if isinstance(url, str) else None
    return found[1].lower() if found else ""


def _walk(bar_number: int, bar: Any) -> Iterator[tuple[tuple[int, ...], str, Any]]:
    bar_words = f"conditional menu {bar_number}, button" if bar_number else "button"
    for number, button in enumerate(listed(bar, "button"), 1):
        where = f"{bar_words} {number}{_label(button)}"
        yield (bar_number, number), where, button
        for sub_number, sub_button in enumerate(listed(button, "sub_button"), 1):
            yield (bar_number, number, sub_number), f"{where} > {sub_number}{_label(sub_button)}", sub_button


def _label(button: Any) -> str:
    name = button.get("name") if isinstance(button, dict) else None
    return f" {quoted(name)}" if isinstance(name, str) and name else ""


def _wrong_menu(menu: Any) -> Iterator[Wrong]:
    if isinstance(menu, dict) and "menu" in menu:
        yield from _wrong_bar(menu, "menu", "conditionalmenu")
        yield from _wrong_bar(menu["menu"], "button", "menuid")
    else:
        yield from _wrong_bar(menu, "button", "conditionalmenu", "menuid")
    if isinstance(menu, dict) and (wrong := not_a(list, menu, "conditionalmenu")) and "conditionalmenu" in menu:
        yield wrong.but("expected a list of menus with a matchrule")
    if listed(menu, "conditionalmenu") and not listed(default_of(menu), "button"):
        yield Wrong("conditionalmenu", "default", "conditional menus need a default menu")


def _wrong_conditional(conditional: Any) -> Iterator[Wrong]:
    yield from _wrong_bar(conditional, "button", "matchrule", "menuid")
    if isinstance(conditional, dict) and (wrong := not_a(dict, conditional, "matchrule")):
        yield wrong.but(f"expected an object with {' or '.join(MATCHRULE)}")
    elif isinstance(conditional, dict):
        yield from _wrong_matchrule(conditional["matchrule"])


def _wrong_bar(bar: Any, *takes: str) -> Iterator[Wrong]:
    if not isinstance(bar, dict):
        yield Wrong("", "other", f"it is {json_type(bar)}; expected an object with {takes[0]}")
        return
    yield from wrong_names(bar, takes, _MENU_FIELDS, "it")
    if "button" in takes and (wrong := wrong_list(bar, "button", MOST_BUTTONS)):
        yield wrong


def _wrong_matchrule(rule: dict[str, Any]) -> Iterator[Wrong]:
    for name, (pattern, expected) in MATCHRULE.items():
        value = str(rule[name]) if type(rule.get(name)) is int else rule.get(name, "")
        if value != "" and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            shown = quoted(value) if isinstance(value, str) else json_type(value)
            yield Wrong(name, "number", f"matchrule's {name} is {shown}; expected {expected}")
    for other in [name for name in rule if name not in MATCHRULE]:
        now = " (tag_id is its name now)" if other == "group_id" else ""
        text = f"matchrule has {quoted(other)}{now}; WeChat answers 65320, it takes {' and '.join(MATCHRULE)} only"
        yield Wrong(other, "refused", text)
    if all(rule.get(name, "") == "" for name in MATCHRULE):
        yield Wrong("tag_id", "nobody", f"matchrule names nobody; expected {' or '.join(MATCHRULE)}")


def _wrong_button(button: Any, is_sub: bool) -> Iterator[Wrong]:
    if not isinstance(button, dict):
        yield Wrong("", "other", f"it is {json_type(button)}; expected an object with name and type")
        return
    who, most_bytes = ("sub-button", _MOST_SUB_NAME_BYTES) if is_sub else ("button", _MOST_NAME_BYTES)
    if wrong := wrong_text(button, "name", most_bytes):
        yield wrong.but(f"a {who} takes one of 1 to {most_bytes} bytes")
    if button.get("sub_button", []) == []:
        yield from _wrong_leaf(button)
    elif is_sub:
        text = "sub_button is out of place; nothing is nested deeper than a sub-button"
        yield Wrong("sub_button", "nested", text)
    else:
        if wrong := wrong_list(button, "sub_button", MOST_SUB_BUTTONS):
            yield wrong
        yield from wrong_names(button, ("name", "sub_button"), _BUTTON_FIELDS, "a button with sub_button")


def _wrong_leaf(button: dict[str, Any]) -> Iterator[Wrong]:
    names = [name for name in button if name != "sub_button"]  # menu/get writes an empty one into every button
    wrong = not_a(str, button, "type")
    if not wrong and button["type"] not in TYPES:
        wrong = Wrong("type", "type", f"WeChat knows no type {quoted(button['type'])}{near(button['type'], TYPES)}")
    if wrong:
        expected = f"expected one of {', '.join(TYPES)}, or buttons in sub_button"
        yield wrong.but(expected)._replace(kind="type")
        yield from wrong_names(names, _BUTTON_FIELDS, _BUTTON_FIELDS, "a button")
        return
    who = f"{'an' if button['type'][0] in 'aeiou' else 'a'} {button['type']} button"
    for field in TYPES[button["type"]]:
        if wrong := wrong_text(button, field, _MOST_BYTES.get(field, 0)):
            size = f" of 1 to {_MOST_BYTES[field]} bytes" if field in _MOST_BYTES else ""
            yield wrong.but(f"{who} takes one{size}{', http:// or https://' if field == 'url' else ''}")
    yield from wrong_names(names, ("name", "type", *TYPES[button["type"]]), _BUTTON_FIELDS, who)
