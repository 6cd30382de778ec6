"""WeChat's XML as a dict: read once, strictly, and mended only where a fan's text broke it."""

import re
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLParser
from xml.parsers import expat

from app.blank import without_forbidden
from app.errors import BadMessage

Fields = dict[str, Any]
_MAX_DEPTH = 8
_LISTS = {"AroundBeacon"}  # wechatpy iterates over it, and one beacon would not come as a list
_CHARACTERS = r"\t\n\x20-\x5c\x5e-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff"  # that XML holds, without ] and \r
FAN_WRITTEN = ("Content", "Label", "Title", "Description", "Url", "Recognition", "EventKey")
_OPEN = re.compile(r"\s*<([A-Za-z_]\w*)>(?:<!\[CDATA\[|([\w. -]*)</\1>)", re.ASCII)
_TAIL = re.compile(r"<!\[CDATA\[([^\]]*)\]\]>|([\w. -]*)", re.ASCII)
_FLAT_ELEMENT = re.compile(  # or, as the last group, all that is left where something else begins
    rf"[ \t\n]*<([A-Za-z_]\w*)>(?:<!\[CDATA\[([{_CHARACTERS}]*)\]\]>|([\w. -]*))</\1>|(?s:(.+))", re.ASCII
)
_DOCTYPE = b"<!DOCTYPE"
_CDATA, _CDATA_END, _CDATA_END_INSIDE = "<![CDATA[", "]]>", "]]]]><![CDATA[>"


def read(xml: bytes) -> Fields:
    """Read what WeChat sent, mended where a fan's text broke it; return and raise as ``read_strictly``."""
    xml = xml.lstrip()  # nothing may stand before <?xml, and a line break does
    fields = _read_flat(xml) or _read_as_typed(xml)
    if fields is not None:
        return fields
    try:
        return read_strictly(xml)
    except BadMessage:
        return read_strictly(_mend(xml))


def read_strictly(xml: bytes) -> Fields:
    """Return the children of ``<xml>``: text as str, empty ones as None, nested ones as dicts, repeated ones as lists.

    Raises BadMessage when it is not well-formed, has a DOCTYPE, is nested more than 8 deep, or is not ``<xml>``.
    """
    if b"\0" in xml:  # UTF-16, whatever the parser is told; a DOCTYPE would not be seen in it
        raise BadMessage("not XML in UTF-8: a zero byte")
    if _DOCTYPE in xml:
        _refuse_doctype(xml)
    parser = XMLParser(encoding="utf-8")  # noqa: S314 (without a DOCTYPE there are no entities)
    try:
        parser.feed(xml)
        root = parser.close()
    except ParseError as error:
        raise BadMessage(f"not XML: {error}") from error
    if root.tag != "xml" or not len(root):
        raise BadMessage("the root is not <xml> with something inside")
    return _fields(root, 1)


def cdata(text: str) -> str:
    """Return ``text`` as a CDATA section that it cannot end, without the characters that XML forbids."""
    return f"{_CDATA}{without_forbidden(text).replace(_CDATA_END, _CDATA_END_INSIDE)}{_CDATA_END}"


def _read_flat(xml: bytes) -> Fields | None:
    """Return what ``read_strictly`` would, in a third of the time, for what nearly every message is; else None.

    That is one level of distinct elements, each with plain text or one CDATA section without ``]`` in it.
    """
    try:
        text = xml.decode()
    except UnicodeDecodeError:
        return None
    text = text.rstrip(" \t\n")
    if not text.startswith("<xml>") or not text.endswith("</xml>"):
        return None
    fields: Fields = {}
    for name, inside, plain, rest in _FLAT_ELEMENT.findall(text[5:-6].rstrip(" \t\n")):
        value = inside or plain
        if rest or name in fields:
            return None
        fields[name] = None if not value or value.isspace() else value
    return fields or None


def _read_as_typed(xml: bytes) -> Fields | None:
    """Return the fields of one level of elements; None where it is not that. A fan may paste elements, unescaped."""
    text = without_forbidden(xml.decode(errors="replace")).replace("\r\n", "\n").replace("\r", "\n").rstrip()
    found: list[tuple[str, str]] = []
    at, end = 5, len(text) - 6
    while (opened := _OPEN.match(text, at, end)) and opened[1] not in FAN_WRITTEN:
        name, value, at = opened[1], opened[2], opened.end()
        if value is None:
            if (close := text.find(f"{_CDATA_END}</{name}>", at, end)) < 0:
                return None
            value, at = text[at:close], close + len(name) + 6
        found.append((name, value))
    if not opened or opened[2] is not None or not text.startswith("<xml>") or not text.endswith("</xml>"):
        return None
    name, at = opened[1], opened.end()
    while (close := text.rfind("</", at, end)) >= 0 and (
        last := text[close + 2 : end].rstrip(" \t\n>")
    ) not in FAN_WRITTEN:
        start = text.rfind(f"<{last}>", at, close)
        if start < 0 or not (inside := _TAIL.fullmatch(text, start + len(last) + 2, close)):
            return None
        found.append((last, inside[1] or inside[2]))
        end = start
    if close < 0 or not text.endswith(_CDATA_END, at, close):
        return None
    for _ in FAN_WRITTEN:
        if name == last:
            fields = {name: _text(value) for name, value in [*found, (name, text[at : close - 3])]}
            return fields if len(fields) == len(found) + 1 else None
        if not (
            border := re.compile(rf"\]\]></{name}>\s*<({'|'.join(FAN_WRITTEN)})><!\[CDATA\[").search(text, at, close)
        ):
            return None
        found.append((name, text[at : border.start()]))
        name, at = border[1], border.end()
    return None


def _fields(element: Element, depth: int) -> Fields:
    if depth > _MAX_DEPTH:
        raise BadMessage(f"nested more than {_MAX_DEPTH} deep")
    fields: Fields = {}
    for child in element:
        name, value = child.tag, _fields(child, depth + 1) if len(child) else _text(child.text)
        if name not in fields:
            fields[name] = [value] if name in _LISTS and depth > 1 else value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields


def _text(text: str | None) -> str | None:
    """Return ``text``, or None for white space alone: that is how an empty list is written."""
    return None if not text or text.isspace() else text


def _refuse_doctype(xml: bytes) -> None:
    """Tell a DOCTYPE from a fan who writes one."""

    def refuse(*_: Any) -> None:
        raise BadMessage("a DOCTYPE, which WeChat never sends")

    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = refuse
    with suppress(expat.ExpatError):  # what else is wrong with it is found by who reads it
        parser.Parse(xml, True)


def _mend(xml: bytes) -> bytes:
    """Drop control characters and half characters, and escape each CDATA section that ends inside its element."""
    text = without_forbidden(xml.decode(errors="replace"))
    mended: list[str] = []
    done = 0
    while (start := text.find(_CDATA, done)) >= 0:
        start += len(_CDATA)
        tag = text[text.rfind("<", done, start - len(_CDATA)) + 1 : start - len(_CDATA)]
        end = text.find(f"{_CDATA_END}</{tag}", start)
        if end < 0:
            break
        mended += text[done:start], text[start:end].replace(_CDATA_END, _CDATA_END_INSIDE)
        done = end
    return "".join([*mended, text[done:]]).encode()
