"""Who plays fans on the phone, and what they see of the account besides the conversation."""

import re
import secrets
from typing import Any, NamedTuple

from app.sandbox.login import OPENID
from app.sandbox.state import State

_CREATE = "/cgi-bin/qrcode/create"


class Person(NamedTuple):
    """Somebody with a phone; ``follows`` tells whether they follow the account.

    ``client_platform_type`` is 1 (iOS), 2 (Android) or 3 (others), ``tag_id`` that of their tag, "" for none.
    """

    openid: str
    follows: bool
    client_platform_type: str = "3"
    tag_id: str = ""


def people(state: State) -> list[Person]:
    """Return everybody, at first one who follows."""
    with state.changed() as account:
        known = account.setdefault("people", {OPENID: True})
        profiles = account.get("profiles", {})
        return [Person(openid, follows, **profiles.get(openid, {})) for openid, follows in known.items()]


def add_person(state: State) -> Person:
    """Return somebody new, who does not follow yet."""
    person = Person(f"oFan{secrets.token_hex(12)}", follows=False)
    set_follows(state, person.openid, follows=False)
    return person


def set_follows(state: State, openid: str, *, follows: bool) -> None:
    """Note that a person follows, or no longer."""
    with state.changed() as account:
        account.setdefault("people", {OPENID: True})[openid] = follows


def set_profile(state: State, openid: str, client_platform_type: str, tag_id: str) -> None:
    """Note what conditional menus ask of a person; raises ValueError for what is no platform or no tag."""
    if not re.fullmatch("[123]", client_platform_type) or not re.fullmatch("[0-9]*", tag_id):
        raise ValueError(f"client_platform_type {client_platform_type!r}, tag_id {tag_id!r}")
    with state.changed() as account:
        profile = {"client_platform_type": client_platform_type, "tag_id": tag_id}
        account.setdefault("profiles", {})[openid] = profile


def menu_of(state: State, person: Person) -> dict[str, Any]:
    """Return the menu that a person sees: the newest conditional one that fits them, else the default one."""
    # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Personalized_menu_interface.html
    with state.changed() as account:
        newest_first = reversed(account.get("conditional", []))
        fitting = next((menu for menu in newest_first if _fits(menu["matchrule"], person)), None)
        return dict(fitting or account.get("menu") or {})


def _fits(rule: dict[str, Any], person: Person) -> bool:
    return all(value == "" or str(value) == getattr(person, name) for name, value in rule.items())


def tags_of(state: State) -> list[str]:
    """Return the tags that the account has made, or that a conditional menu asks for."""
    with state.changed() as account:
        made = [str(100 + number) for number in range(len(account.get("tags", ())))]
        asked = [str(menu["matchrule"].get("tag_id", "")) for menu in account.get("conditional", ())]
    return sorted({*made, *asked} - {""})


def scenes_of(state: State) -> list[str]:
    """Return the scenes of the QR codes that WeChat was asked for, the newest first."""
    asked = (call["body"]["action_info"]["scene"] for call in state.records("call", path=_CREATE, errcode=0))
    return list(dict.fromkeys(str(next(iter(scene.values()))) for scene in reversed(list(asked))))
