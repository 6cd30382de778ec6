"""Who plays fans on the phone, and what they see of the account besides the conversation."""

import secrets
from typing import Any, NamedTuple

from app.sandbox.login import OPENID
from app.sandbox.state import State

_CREATE = "/cgi-bin/qrcode/create"


class Person(NamedTuple):
    """Somebody with a phone; ``follows`` tells whether they follow the account."""

    openid: str
    follows: bool


def people(state: State) -> list[Person]:
    """Return everybody, at first one who follows."""
    with state.changed() as account:
        known = account.setdefault("people", {OPENID: True})
        return [Person(openid, follows) for openid, follows in known.items()]


def add_person(state: State) -> Person:
    """Return somebody new, who does not follow yet."""
    person = Person(f"oFan{secrets.token_hex(12)}", follows=False)
    set_follows(state, person.openid, follows=False)
    return person


def set_follows(state: State, openid: str, *, follows: bool) -> None:
    """Note that a person follows, or no longer."""
    with state.changed() as account:
        account.setdefault("people", {OPENID: True})[openid] = follows


def menu_of(state: State) -> list[dict[str, Any]]:
    """Return the buttons of the account's menu, those below in ``sub_button``."""
    with state.changed() as account:
        return list((account.get("menu") or {}).get("button", ()))


def scenes_of(state: State) -> list[str]:
    """Return the scenes of the QR codes that WeChat was asked for, the newest first."""
    asked = (call["body"]["action_info"]["scene"] for call in state.records("call", path=_CREATE, errcode=0))
    return list(dict.fromkeys(str(next(iter(scene.values()))) for scene in reversed(list(asked))))
