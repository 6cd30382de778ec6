"""A menu that is being edited: it lives in the form alone. What an input is called, and what the form holds."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from app.api.menu_form import listed
from app.api.menu_rules import MATCHRULE, TYPES

Draft = dict[str, Any]
"""A menu as ``normalised`` returns it, whose buttons may hold fields of other types, too: see ``wanted``."""
Place = tuple[int, ...]
"""Of a bar, a button or a sub-button, as in ``app.api.menu_rules.Problem``."""

FIELDS = tuple(dict.fromkeys(field for fields in TYPES.values() for field in fields))
_INPUT = re.compile(r"menu((?:-[0-9]{1,4}){1,3})-([a-z_]+)")


def name_of(place: Place, field: str = "") -> str:
    """Return the name and id of the input of ``field``, or the id of what is at ``place``: menu-0-2-url."""
    return "-".join(["menu", *map(str, place), *([field] if field else [])])


def read(form: Mapping[str, str]) -> Draft:
    """Return the menu that the form holds."""
    nodes: dict[Place, dict[str, str]] = {(0,): {}}
    for name, value in form.items():
        if found := _INPUT.fullmatch(name):
            place = tuple(int(number) for number in found[1].split("-")[1:])
            nodes.setdefault(place, {})[found[2]] = value
    below = defaultdict(list)
    for place in sorted(nodes):
        below[place[:-1]].append(place)

    def buttons(place: Place) -> list[Any]:
        return [_button(nodes[one], buttons(one)) for one in below[place]]

    default, *conditional = (_bar(nodes[place], buttons(place)) for place in below[()])
    menus = {"conditionalmenu": conditional} if conditional else {}
    return {"button": default["button"] if isinstance(default, dict) else [], **menus}


def _bar(fields: Mapping[str, str], buttons: list[Any]) -> Any:
    rest = _parsed(fields.get("rest", "{}"))
    if not isinstance(rest, dict):
        return rest
    rule = rest.get("matchrule", {})
    if isinstance(rule, dict):
        rule = rule | {name: fields[name] for name in MATCHRULE if fields.get(name)}
    return {**rest, "button": buttons, "matchrule": rule}


def _button(fields: Mapping[str, str], sub_buttons: list[Any]) -> Any:
    rest = _parsed(fields.get("rest", "{}"))
    if not isinstance(rest, dict):
        return rest
    given = {name: fields[name] for name in ("name", "type", *FIELDS) if name in fields}
    return {**rest, **given, **({"sub_button": sub_buttons} if sub_buttons else {})}


def _parsed(rest: str) -> Any:
    try:
        return json.loads(rest)
    except (ValueError, RecursionError):  # no page of ours wrote it
        return {}


def rest_of(place: Place, node: Any) -> Any:
    """Return what the inputs of the bar or button do not hold, so that it goes through the form as it is."""
    if not isinstance(node, dict):
        return node
    if len(place) == 1:
        rest = {name: value for name, value in node.items() if name not in ("button", "conditionalmenu", "matchrule")}
        rule = node.get("matchrule", {})
        if isinstance(rule, dict):
            rule = {name: value for name, value in rule.items() if name not in MATCHRULE or not isinstance(value, str)}
        return {**rest, **({"matchrule": rule} if rule != {} else {})}
    inputs = ("name",) if subs_of(place, node) else ("name", "type", *FIELDS)
    in_list = ("sub_button",) if subs_of(place, node) else ()
    return {
        name: value
        for name, value in node.items()
        if name not in in_list and not (name in inputs and isinstance(value, str))
    }


def subs_of(place: Place, node: Any) -> list[Any]:
    """Return the sub-buttons that are edited each; whatever else stands there goes through the form as it is."""
    return listed(node, "sub_button") if len(place) == 2 else []


def inputs_of(place: Place, node: Any) -> tuple[str, ...]:
    """Return the fields of the bar or button that have an input that is seen."""
    if len(place) == 1:
        return tuple(MATCHRULE) if place[0] else ()
    if not isinstance(node, dict):
        return ()
    own = node.get("type")
    return (
        ("name",) if subs_of(place, node) else ("name", "type", *(TYPES.get(own, ()) if isinstance(own, str) else ()))
    )


def places(draft: Draft) -> Iterator[tuple[Place, Any]]:
    """Yield each bar, button and sub-button with its place, in the order in which they are seen."""
    for bar_number, bar in enumerate([draft, *listed(draft, "conditionalmenu")]):
        yield (bar_number,), bar
        for number, button in enumerate(listed(bar, "button"), 1):
            yield (bar_number, number), button
            for sub_number, sub_button in enumerate(subs_of((bar_number, number), button), 1):
                yield (bar_number, number, sub_number), sub_button


def wanted(draft: Draft) -> Draft:
    """Return the menu that is meant: a button without what it holds for other types than its own."""
    default, *conditional = (_wanted_bar(bar) for bar in [draft, *listed(draft, "conditionalmenu")])
    return {"button": default["button"], **({"conditionalmenu": conditional} if conditional else {})}


def _wanted_bar(bar: Any) -> Any:
    return {**bar, "button": [_wanted_button(one) for one in bar["button"]]} if listed(bar, "button") else bar


def _wanted_button(button: Any) -> Any:
    if not isinstance(button, dict):
        return button
    if subs := listed(button, "sub_button"):
        return {**button, "sub_button": [_wanted_button(one) for one in subs]}
    own = TYPES.get(button["type"]) if isinstance(button.get("type"), str) else None
    return {name: value for name, value in button.items() if own is None or name in own or name not in FIELDS}
