"""Texts with arguments as rows of HANDLERS, and a help text made from the table."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_PART = re.compile(r"<(?P<needed>[^<>\[\]]*)>|\[(?P<optional>[^<>\[\]]*)\]|(?P<word>[^<>\[\]\s()]+)")
_NAME = re.compile(r"(?P<name>\w+?)(?P<kind>:\w+|\.\.\.)?")
_VALUES = {None: r"\S+", ":int": r"[+-]?\d+", "...": r"(?s:.+)"}
_USAGE = re.compile(r"\(\?#(.*?)\)")
_CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]$")
_EXPECTED = (
    'expected words, then <needed>, then [optional], of which the last may be <rest...>: "天气 <city> [days:int]"'
)


def command(usage: str) -> re.Pattern[str]:
    """Return the pattern for ``("text", command("天气 <city> [days:int]"))``.

    ``message.match["city"]`` is the argument as the fan wrote it, None for an optional one that is not there. An
    argument is one word; ``:int`` takes whole numbers alone, and ``<text...>`` all that follows. Case does not matter,
    and no space is needed between a Chinese word and an argument. Raises ValueError.
    """
    parts = list(_PART.finditer(usage))
    if "".join(part[0] for part in parts) != "".join(usage.split()) or not parts or not parts[0]["word"]:
        raise ValueError(f"command({usage!r}); {_EXPECTED}")
    pattern, kinds, before = "", [str(part.lastgroup) for part in parts], ""
    if kinds != sorted(kinds, key=("word", "needed", "optional").index):
        raise ValueError(f"command({usage!r}) is in the wrong order; {_EXPECTED}")
    for part in parts:
        space = r"\s*" if _CHINESE.search(before) and not part["word"] else r"\s+" if before else ""
        before = part["word"] or " "
        found = space + (re.escape(part["word"]) if part["word"] else _group(usage, part, part is parts[-1]))
        pattern += f"(?:{found})?" if part.lastgroup == "optional" else found
    try:
        return re.compile(f"(?#{usage.strip()}){pattern}", re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"command({usage!r}): {error}; {_EXPECTED}") from error


def usage_of(pattern: re.Pattern[str]) -> str:
    """Return what the pattern of a command was made from, "" for any other pattern."""
    found = _USAGE.match(pattern.pattern) if isinstance(pattern.pattern, str) else None
    return found[1] if found else ""


def help_from(handlers: Mapping[Any, Any], first: str = "你可以发送：") -> Callable[[Any], str]:
    """Return a handler that lists the commands and exact texts of ``handlers``, with what each docstring says first.

    It goes into the table itself: ``HANDLERS["text", "帮助"] = help_from(HANDLERS)``, and is not listed.
    """

    def show_help(message: Any) -> str:
        lines = [_line(key, handler) for key, handler in handlers.items() if handler is not show_help]
        return "\n".join([first, *filter(None, lines)])

    return show_help


def _line(key: Any, handler: Any) -> str:
    if not isinstance(key, tuple) or len(key) != 2 or key[0].lower() != "text":
        return ""
    usage = usage_of(key[1]) if isinstance(key[1], re.Pattern) else key[1].strip()
    shown = re.sub(r":\w+(?=[>\]])|\.\.\.(?=[>\]])", "", usage)
    said = (getattr(getattr(handler, "func", handler), "__doc__", None) or "").strip().partition("\n")[0]
    return f"{shown}：{said}" if shown and said else shown


def _group(usage: str, part: re.Match[str], is_last: bool) -> str:
    named = _NAME.fullmatch(part["needed"] or part["optional"] or "")
    kind = named and named["kind"]
    if named is None or not named["name"].isidentifier() or kind not in _VALUES or (kind == "..." and not is_last):
        raise ValueError(f"command({usage!r}) has the argument {part[0]}; {_EXPECTED}")
    return f"(?P<{named['name']}>{_VALUES[kind]})"
