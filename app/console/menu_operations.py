"""What the editor's buttons do to a menu: "up menu-0-2" is one of them, as the form sends it in ``do``."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from app.api.menu_form import listed
from app.api.menu_rules import MOST_BUTTONS, MOST_SUB_BUTTONS
from app.console.menu_draft import Draft, Place, name_of, places, read, rest_of, subs_of

_NEW_BUTTON = {"name": "", "type": "click", "key": ""}
_ADD_CONDITIONAL = "add menu"


def possible(draft: Draft) -> set[str]:
    """Return the operations that can be done now; "add menu" adds a conditional menu."""
    found = {_ADD_CONDITIONAL}
    for place, node in places(draft):
        found |= {f"{operation} {name_of(place)}" for operation in _possible_at(draft, place, node)}
    return found


def operate(form: Mapping[str, str], do: str) -> tuple[Draft, str]:
    """Return the form's menu after ``do``, and the ``do`` or the id of what is to have the focus then.

    What is impossible changes nothing.
    """
    draft = read(form)
    if do not in possible(draft):
        return draft, ""
    operation, _, name = do.partition(" ")
    place = tuple(int(number) for number in name.split("-")[1:])
    if operation == "drop":
        return read({one: value for one, value in form.items() if one != f"{name}-rest"}), _focus(place)
    changed = copy.deepcopy(draft)
    there = _OPERATIONS[operation](changed, place)
    again = f"{operation} {name_of(there)}"
    is_repeated = operation in ("up", "down") and again in possible(changed)
    return changed, again if is_repeated else _focus(there)


def _possible_at(draft: Draft, place: Place, node: Any) -> Iterator[str]:
    if rest_of(place, node) != {}:
        yield "drop"
    if place == (0,):
        yield from ("add",) if len(listed(draft, "button")) < MOST_BUTTONS else ()
        return
    siblings, index = _siblings(draft, place), place[-1] - 1
    yield "remove"
    yield from ("up",) if index > 0 else ()
    yield from ("down",) if index < len(siblings) - 1 else ()
    if not isinstance(node, dict):
        return
    if len(place) == 1 and len(listed(node, "button")) < MOST_BUTTONS:
        yield "add"
    if len(place) == 2 and _has_room(node):
        yield "add"
    if len(place) == 2 and index > 0 and not subs_of(place, node) and _has_room(siblings[index - 1]):
        yield "nest"
    if len(place) == 3 and len(_siblings(draft, place[:2])) < MOST_BUTTONS:
        yield "out"


def _has_room(button: Any) -> bool:
    subs = listed(button, "sub_button") if isinstance(button, dict) else None
    return subs is not None and len(subs) < MOST_SUB_BUTTONS


def _add(draft: Draft, place: Place) -> Place:
    added: dict[str, Any] = dict(_NEW_BUTTON) if place else {"button": [], "matchrule": {}}
    below = _below(draft, place)
    below.append(added)
    return (*place, len(below))


def _remove(draft: Draft, place: Place) -> Place:
    siblings = _siblings(draft, place)
    del siblings[place[-1] - 1]
    if siblings:
        return (*place[:-1], min(place[-1], len(siblings)))
    if len(place) == 3:
        _leave(draft, place[:-1])
    return place[:-1]


def _up(draft: Draft, place: Place, by: int = -1) -> Place:
    siblings, index = _siblings(draft, place), place[-1] - 1
    siblings[index], siblings[index + by] = siblings[index + by], siblings[index]
    return (*place[:-1], place[-1] + by)


def _down(draft: Draft, place: Place) -> Place:
    return _up(draft, place, by=1)


def _nest(draft: Draft, place: Place) -> Place:
    """Move the button below its neighbour on the left."""
    button, neighbour = _siblings(draft, place).pop(place[-1] - 1), (place[0], place[1] - 1)
    below = _below(draft, neighbour)
    below.append(button)
    return (*neighbour, len(below))


def _out(draft: Draft, place: Place) -> Place:
    """Move the sub-button onto the bar, to the right of the button that it was below."""
    siblings = _siblings(draft, place)
    button = siblings.pop(place[2] - 1)
    if not siblings:
        _leave(draft, place[:-1])
    _siblings(draft, place[:-1]).insert(place[1], button)
    return (place[0], place[1] + 1)


def _below(draft: Draft, place: Place) -> list[Any]:
    """Return the list of what is below ``place``, to be changed."""
    if not place:
        found: list[Any] = draft.setdefault("conditionalmenu", [])
        return found
    node = draft if place == (0,) else _siblings(draft, place)[place[-1] - 1]
    if len(place) == 2 and not listed(node, "sub_button"):
        # What the button did so far is what the first of its sub-buttons does.
        did = dict(node)
        name = node.get("name", "")
        node.clear()
        is_blank = not any(value for field, value in did.items() if field not in ("name", "type"))
        node.update(name=name, sub_button=[] if is_blank else [did])
    found = node["sub_button" if len(place) == 2 else "button"]
    return found


def _siblings(draft: Draft, place: Place) -> list[Any]:
    return _below(draft, place[:-1])


def _leave(draft: Draft, place: Place) -> None:
    """Make the button, which has no sub-button any more, one without a type."""
    node = _siblings(draft, place)[place[-1] - 1]
    del node["sub_button"]
    node["type"] = ""


def _focus(place: Place) -> str:
    if not place:
        return _ADD_CONDITIONAL
    if len(place) == 1:
        return name_of(place, "tag_id") if place[0] else f"add {name_of(place)}"
    return name_of(place, "name")


_OPERATIONS = {"add": _add, "remove": _remove, "up": _up, "down": _down, "nest": _nest, "out": _out}
