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
_FLAT_ELEMENT = re.compile(  # or, as the last group, all that is left where something else begins
    rf"[ \t\n]*<([A-Za-z_]\w*)>(?:<!\[CDATA\[([{_CHARACTERS}]*)\]\]>|([\w. -]*))</\1>|(?s:(.+))", re.ASCII
)
_DOCTYPE = b"<!DOCTYPE"
_CDATA, _CDATA_END, _CDATA_END_INSIDE = "<![CDATA[", "]]>", "]]]]><![CDATA[>"
_PIECE = re.compile(  # the end of a section, its start, an element of plain text, a tag
    r"\]\]></(?P<ending>\w+)>|<(?P<section>\w+)><!\[CDATA\[|<(?P<plain>\w+)>[^<\]]*</(?P=plain)>|</?\w+ ?/?>", re.ASCII
)
_SPACE = re.compile(r"[ \t\r\n]*")
# Text, titles of links, what a QR code or a voice holds, names of places.
FAN_WRITTEN = {
    "Content", "Title", "Description", "Url", "Label", "Poiname", "Recognition", "EventKey", "ScanResult", "OuterStr",
}  # fmt: skip


def read(xml: bytes) -> Fields:
    """Read what WeChat sent, mended where a fan's text broke it; return and raise as ``read_strictly``."""
    fields = _read_flat(xml)
    if fields is not None:
        return fields
    text = without_forbidden(xml.decode(errors="replace")).strip("\ufeff \t\r\n")
    with suppress(BadMessage):
        if _is_clear(text) and not _repeats_what_a_fan_writes(as_it_is := read_strictly(text.encode())):
            return as_it_is
    return read_strictly(_mended(text))


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


def _is_clear(text: str) -> bool:
    """Tell whether each CDATA section ends its element, or is cut in two as XML's own writers cut one at ``]]>``."""
    text = text.replace(_CDATA_END_INSIDE, "")
    return text.count(_CDATA) == text.count(_CDATA_END) == text.count(f"{_CDATA_END}</")


def _repeats_what_a_fan_writes(fields: Any) -> bool:
    if not isinstance(fields, dict):
        return isinstance(fields, list) and any(map(_repeats_what_a_fan_writes, fields))
    found = (name in FAN_WRITTEN and isinstance(value, list) for name, value in fields.items())
    return any(found) or any(map(_repeats_what_a_fan_writes, fields.values()))


def _mended(text: str) -> bytes:
    """Escape each CDATA section that does not end where its element does.

    WeChat escapes nothing that a fan writes. What a fan writes ends at the last end of its element after which the rest
    reads as XML; anything else ends at the first. Both are found from the right, each piece looked at once.
    """
    pieces = {piece.start(): piece for piece in _PIECE.finditer(text)}
    ends: dict[str, list[int]] = {}  # of each name, from the right, those after which the rest reads
    end_of: dict[int, int] = {}  # where the section ends that starts here
    reads = {len(text)}
    for at, piece in sorted(pieces.items(), reverse=True):
        after = _SPACE.match(text, piece.end()).end()  # type: ignore[union-attr]
        ending, section = piece["ending"], piece["section"]
        if ending and after in reads:
            ends.setdefault(ending, []).append(at)
        elif section and section in ends:
            end_of[at] = ends[section][0 if section in FAN_WRITTEN else -1]
            reads.add(at)
        elif not ending and not section and after in reads:
            reads.add(at)
    mended: list[str] = []
    at = 0
    for start, piece in pieces.items():
        if start >= at and start in end_of:
            end = end_of[start]
            mended += text[at : piece.end()], text[piece.end() : end].replace(_CDATA_END, _CDATA_END_INSIDE)
            at = end
    return "".join([*mended, text[at:]]).encode()
