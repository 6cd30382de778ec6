"""The rules of WeChat for a menu, so far as they can be checked before it is sent."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from app.api.menu_form import default_of, listed

# Each type of button and the fields that it must have.
_TYPES = {
    "click": ("key",), "view": ("url",), "miniprogram": ("url", "appid", "pagepath"),
    "scancode_push": ("key",), "scancode_waitmsg": ("key",), "location_select": ("key",),
    "pic_sysphoto": ("key",), "pic_photo_or_album": ("key",), "pic_weixin": ("key",),
    "media_id": ("media_id",), "view_limited": ("media_id",),
    "article_id": ("article_id",), "article_view_limited": ("article_id",),
}  # fmt: skip
_MOST_BYTES = {"key": 128, "url": 1024}
_MOST_NAME_BYTES, _MOST_SUB_NAME_BYTES = 16, 60
_MOST_BUTTONS, _MOST_SUB_BUTTONS, _MOST_CONDITIONAL_HOSTS = 3, 5, 3
_BUTTON_FIELDS = ("name", "type", "sub_button", "key", "url", "appid", "pagepath", "media_id", "article_id")
_MENU_FIELDS = ("button", "conditionalmenu", "matchrule", "menu", "menuid")
# What a conditional menu may ask for, and how it is written.
_MATCHRULE = {
    "tag_id": ("[0-9]+", "the number of a tag"),
    "client_platform_type": ("[123]", "1 (iOS), 2 (Android) or 3 (others)"),
}
_JSON_TYPES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number"}
_JSON_TYPES |= {str: "a text", list: "a list", dict: "an object"}


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
    # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Creating_Custom-Defined_Menu.html
    # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Personalized_menu_interface.html
    found = Checked([], [])
    for number, bar in enumerate([default_of(menu), *listed(menu, "conditionalmenu")]):
        where = f"conditional menu {number}" if number else "the menu"
        lines = _wrong_conditional(bar) if number else _wrong_menu(menu)
        found.problems.extend(f"{where}: {wrong}" for wrong in lines)
        for place, button, is_sub in _walk(f"{where}, button" if number else "button", bar):
            problems = [f"{place}: {wrong}" for wrong in _wrong_button(button, is_sub)]
            found.problems.extend(problems)
            if takes_click and not problems and button.get("type") == "click" and not takes_click(button["key"]):
                row = f'it would be ("event", "click", {_quoted(button["key"])}): ...'
                found.warnings.append(
                    f"{place}: no handler has a row for the click on key {_quoted(button['key'])}; {row}"
                )
    links = {_host(button) for bar in listed(menu, "conditionalmenu") for _, button, _ in _walk("", bar)} - {""}
    if len(links) > _MOST_CONDITIONAL_HOSTS:
        wrong = f"link to {len(links)} hosts, {', '.join(sorted(links))}; WeChat takes {_MOST_CONDITIONAL_HOSTS} in all"
        found.problems.append(f"the conditional menus: {wrong}")
    return found


def _host(button: Any) -> str:
    url = button.get("url") if isinstance(button, dict) and button.get("type") == "view" else None
    found = re.match(r"https?://([^/?#]+)", url) if isinstance(url, str) else None
    return found[1].lower() if found else ""


def _walk(where: str, bar: Any) -> Iterator[tuple[str, Any, bool]]:
    for number, button in enumerate(listed(bar, "button"), 1):
        place = f"{where} {number}{_label(button)}"
        yield place, button, False
        for sub_number, sub_button in enumerate(listed(button, "sub_button"), 1):
            yield f"{place} > {sub_number}{_label(sub_button)}", sub_button, True


def _label(button: Any) -> str:
    name = button.get("name") if isinstance(button, dict) else None
    return f" {_quoted(name)}" if isinstance(name, str) and name else ""


def _wrong_menu(menu: Any) -> Iterator[str]:
    if isinstance(menu, dict) and "menu" in menu:
        yield from _wrong_bar(menu, "menu", "conditionalmenu")
        yield from _wrong_bar(menu["menu"], "button", "menuid")
    else:
        yield from _wrong_bar(menu, "button", "conditionalmenu", "menuid")
    if isinstance(menu, dict) and (wrong := _not_a(list, menu, "conditionalmenu")) and "conditionalmenu" in menu:
        yield f"{wrong}; expected a list of menus with a matchrule"
    if listed(menu, "conditionalmenu") and not listed(default_of(menu), "button"):
        yield "conditional menus need a default menu"


def _wrong_conditional(conditional: Any) -> Iterator[str]:
    yield from _wrong_bar(conditional, "button", "matchrule", "menuid")
    if isinstance(conditional, dict) and (wrong := _not_a(dict, conditional, "matchrule")):
        yield f"{wrong}; expected an object with {' or '.join(_MATCHRULE)}"
    elif isinstance(conditional, dict):
        yield from _wrong_matchrule(conditional["matchrule"])


def _wrong_bar(bar: Any, *takes: str) -> Iterator[str]:
    if not isinstance(bar, dict):
        yield f"it is {_json_type(bar)}; expected an object with {takes[0]}"
        return
    yield from _wrong_names(bar, takes, _MENU_FIELDS, "it")
    if "button" in takes and (wrong := _wrong_list(bar, "button", _MOST_BUTTONS)):
        yield wrong


def _wrong_list(fields: dict[str, Any], name: str, most: int) -> str:
    wrong = _not_a(list, fields, name)
    if not wrong and not 1 <= len(fields[name]) <= most:
        wrong = f"{name} holds {len(fields[name])}"
    return f"{wrong}; expected a list of 1 to {most} buttons" if wrong else ""


def _wrong_matchrule(rule: dict[str, Any]) -> Iterator[str]:
    for name, (pattern, expected) in _MATCHRULE.items():
        value = str(rule[name]) if type(rule.get(name)) is int else rule.get(name, "")
        if value != "" and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            shown = _quoted(value) if isinstance(value, str) else _json_type(value)
            yield f"matchrule's {name} is {shown}; expected {expected}"
    for other in [name for name in rule if name not in _MATCHRULE]:
        now = " (tag_id is its name now)" if other == "group_id" else ""
        yield f"matchrule has {_quoted(other)}{now}; WeChat answers 65320, it takes {' and '.join(_MATCHRULE)} only"
    if all(rule.get(name, "") == "" for name in _MATCHRULE):
        yield f"matchrule names nobody; expected {' or '.join(_MATCHRULE)}"


def _wrong_button(button: Any, is_sub: bool) -> Iterator[str]:
    if not isinstance(button, dict):
        yield f"it is {_json_type(button)}; expected an object with name and type"
        return
    who, most_bytes = ("sub-button", _MOST_SUB_NAME_BYTES) if is_sub else ("button", _MOST_NAME_BYTES)
    if wrong := _wrong_text(button, "name", most_bytes):
        yield f"{wrong}; a {who} takes one of 1 to {most_bytes} bytes"
    if button.get("sub_button", []) == []:
        yield from _wrong_leaf(button)
    elif is_sub:
        yield "sub_button is out of place; nothing is nested deeper than a sub-button"
    else:
        if wrong := _wrong_list(button, "sub_button", _MOST_SUB_BUTTONS):
            yield wrong
        yield from _wrong_names(button, ("name", "sub_button"), _BUTTON_FIELDS, "a button with sub_button")


def _wrong_leaf(button: dict[str, Any]) -> Iterator[str]:
    names = [name for name in button if name != "sub_button"]  # menu/get writes an empty one into every button
    wrong = _not_a(str, button, "type")
    if not wrong and button["type"] not in _TYPES:
        wrong = f"WeChat knows no type {_quoted(button['type'])}{_near(button['type'], _TYPES)}"
    if wrong:
        yield f"{wrong}; expected one of {', '.join(_TYPES)}, or buttons in sub_button"
        yield from _wrong_names(names, _BUTTON_FIELDS, _BUTTON_FIELDS, "a button")
        return
    who = f"{'an' if button['type'][0] in 'aeiou' else 'a'} {button['type']} button"
    for field in _TYPES[button["type"]]:
        if wrong := _wrong_text(button, field, _MOST_BYTES.get(field)):
            size = f" of 1 to {_MOST_BYTES[field]} bytes" if field in _MOST_BYTES else ""
            yield f"{wrong}; {who} takes one{size}{', http:// or https://' if field == 'url' else ''}"
    yield from _wrong_names(names, ("name", "type", *_TYPES[button["type"]]), _BUTTON_FIELDS, who)


def _wrong_text(fields: dict[str, Any], name: str, most_bytes: int | None) -> str:
    if wrong := _not_a(str, fields, name):
        return wrong
    text = fields[name]
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # JSON can write it as \ud83d, but WeChat wants real UTF-8
        return f"{name} holds one half of a surrogate pair, which UTF-8 cannot carry"
    if not text:
        return f"{name} is empty"
    if most_bytes and size > most_bytes:
        return f"{name} has {size} bytes"
    return f"{name} is {_quoted(text)}" if name == "url" and not text.startswith(("http://", "https://")) else ""


def _not_a(json_type: type, fields: dict[str, Any], name: str) -> str:
    if name not in fields:
        return f"{name} is missing"
    return "" if isinstance(fields[name], json_type) else f"{name} is {_json_type(fields[name])}"


def _wrong_names(names: Iterable[str], takes: tuple[str, ...], known: tuple[str, ...], who: str) -> Iterator[str]:
    for name in names:
        if name not in takes:
            wrong = f"{name} is out of place" if name in known else f"WeChat knows no field {_quoted(name)}"
            yield f"{wrong}{'' if name in known else _near(name, known)}; {who} takes {', '.join(takes)}"


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.lower(), known, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _json_type(value: Any) -> str:
    return _JSON_TYPES.get(type(value), type(value).__name__)


def _quoted(text: str) -> str:
    """Quote the text as JSON and Python do, on one line, and so that every terminal can print it."""
    line = json.dumps(text if len(text) <= 128 else f"{text[:127]}…", ensure_ascii=False)
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
