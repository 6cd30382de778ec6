"""What can be wrong with a field of a menu's JSON, whatever it holds: in words, and of which kind it is."""

import difflib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_JSON_TYPES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number"}
_JSON_TYPES |= {str: "a text", list: "a list", dict: "an object"}


class Wrong(NamedTuple):
    """What WeChat would refuse of ``field``, in words, and the kind of it, for other words.

    The kinds: empty, long (``most`` bytes), url, type, count (``most`` buttons), nested, number, nobody, refused,
    unknown, hosts (``most``), default, click, and other.
    """

    field: str
    kind: str
    text: str
    most: int = 0

    def but(self, expected: str) -> "Wrong":
        """Return the same, which goes on with what is expected."""
        return self._replace(text=f"{self.text}; {expected}")


def wrong_list(fields: dict[str, Any], name: str, most: int) -> Wrong | None:
    """Return what is wrong with the list of 1 to ``most`` buttons at ``name``, or None."""
    wrong = not_a(list, fields, name)
    if not wrong and not 1 <= len(fields[name]) <= most:
        wrong = Wrong(name, "count", f"{name} holds {len(fields[name])}")
    return wrong and wrong.but(f"expected a list of 1 to {most} buttons")._replace(most=most)


def wrong_text(fields: dict[str, Any], name: str, most_bytes: int) -> Wrong | None:
    """Return what is wrong with the text of up to ``most_bytes`` (0 for any) at ``name``, or None."""
    if wrong := not_a(str, fields, name):
        return wrong
    text = fields[name]
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # JSON can write it as \ud83d, but WeChat wants real UTF-8
        return Wrong(name, "other", f"{name} holds one half of a surrogate pair, which UTF-8 cannot carry")
    if not text.strip():
        return Wrong(name, "empty", f"{name} is empty")
    if most_bytes and size > most_bytes:
        return Wrong(name, "long", f"{name} has {size} bytes", most_bytes)
    if name == "url" and not text.startswith(("http://", "https://")):
        return Wrong(name, "url", f"{name} is {quoted(text)}")
    return None


def not_a(wanted: type, fields: dict[str, Any], name: str) -> Wrong | None:
    """Return what is wrong with ``name`` where it is missing or not ``wanted``, or None."""
    if name not in fields:
        return Wrong(name, "empty", f"{name} is missing")
    is_one = isinstance(fields[name], wanted)
    return None if is_one else Wrong(name, "other", f"{name} is {json_type(fields[name])}")


def wrong_names(names: Iterable[str], takes: tuple[str, ...], known: tuple[str, ...], who: str) -> Iterator[Wrong]:
    """Yield the names that ``who`` does not take; ``known`` are those that WeChat knows at all."""
    for name in names:
        if name not in takes:
            text = f"{name} is out of place" if name in known else f"WeChat knows no field {quoted(name)}"
            hint = "" if name in known else near(name, known)
            yield Wrong(name, "unknown", f"{text}{hint}; {who} takes {', '.join(takes)}")


def near(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word that was probably meant, or nothing."""
    found = difflib.get_close_matches(word.lower(), known, 1)
    return f" (did you mean {found[0]}?)" if found else ""


def json_type(value: Any) -> str:
    """Return the type of a value as JSON calls it."""
    return _JSON_TYPES.get(type(value), type(value).__name__)


def quoted(text: str) -> str:
    """Quote the text as JSON and Python do, on one line, and so that every terminal can print it."""
    line = json.dumps(text if len(text) <= 128 else f"{text[:127]}…", ensure_ascii=False)
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
