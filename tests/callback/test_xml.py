import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.blank import without_forbidden
from app.callback.xml import _read_flat, cdata, read, read_strictly
from app.errors import BadMessage

SAMPLES = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "samples").glob("*.xml"))}
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
ENTITIES = b'<!ENTITY a "haha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">'

# What mutations are made of: all that means something in XML, and what it cannot hold.
TOKENS = [
    *("<", ">", "/", "&", "]", "[", "!", "-", " ", "\n", "\r", "\t", "x", "0", '"', "中", "\x7f", "\x85", "\u2028"),
    *("<![CDATA[", "]]>", "]]]]>", "<!--", "-->", "<?", "?>", "<?xml version='1.0' encoding='gbk'?>", "<!DOCTYPE x>"),
    *("<a>", "</a>", "<a/>", '<a b="c">', "<a:b>", "<xml>", "</xml>", "<Content>", "</Content>", "<b>1</b>"),
    *("&lt;", "&#20013;", "&#0;", "&#xD;", "&nbsp;", "&amp;", "<item>", "</item>", "<MsgType>", "\ufffd"),
]
HALVES = [b"\xff", b"\xfe\xff", b"\xed\xa0\x80", b"\xe4\xb8", b"\xf0\x9f"]
BROKEN = [b"\x00", b"\x01", b"\x08", b"\x1f", b"\xef\xbf\xbe", *HALVES]
FORM_FEEDS = [b"\x0b", b"\x0c"]
EDIT_TOKENS = [*(token.encode() for token in TOKENS), *BROKEN]

texts = st.text(st.characters(codec="utf-8"))
names = st.sampled_from(["ToUserName", "MsgType", "Content", "a", "_b", "c1", "xml", "Location_X"])
spaces = st.sampled_from(["", "", "\n", "  ", "\r\n", "\t"])
values = st.one_of(
    texts.map(cdata),
    st.lists(st.sampled_from(TOKENS), max_size=6).map("".join).map(cdata),
    st.sampled_from(["", " ", "1714003201", "-1", "0.5", "a b", "1e3", "中", "a&amp;b", " <![CDATA[x]]>", "<a>1</a>"]),
)
elements = st.tuples(names, values, spaces).map(lambda parts: "<{0}>{1}</{0}>{2}".format(*parts))
documents = st.tuples(spaces, st.lists(elements, max_size=6), spaces).map(
    lambda parts: f"<xml>{parts[0]}{''.join(parts[1])}</xml>{parts[2]}".encode()
)


FLAT = [SAMPLES[name] for name in ("text", "event_click", "event_subscribe_qr", "event_unsubscribe")]


def edits(tokens: list[bytes]) -> st.SearchStrategy[list[tuple[int, int, bytes]]]:
    """Return edits: where (modulo the length), how many bytes go, and what comes in their place."""
    where, gone = st.integers(0, 10_000), st.sampled_from([0, 0, 0, 1, 1, 2, 12])
    return st.lists(st.tuples(where, gone, st.sampled_from([b"", *tokens])), min_size=1, max_size=3)


def edited(xml: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for where, gone, token in changes:
        start = where % (len(xml) + 1)
        xml = xml[:start] + token + xml[start + gone :]
    return xml


def nested(depth: int) -> bytes:
    return b"<xml>" + b"<a>" * depth + b"1" + b"</a>" * depth + b"</xml>"


def content(text: bytes) -> bytes:
    return b"<xml>\n<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[" + text + b"]]></Content>\n</xml>"


def as_read(text: str) -> str | None:
    return re.sub("\r\n?", "\n", text) if text.strip() else None


def strictly_or_none(xml: bytes) -> Any:
    try:
        return read_strictly(xml)
    except BadMessage:
        return None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_doctype_in_another_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(BadMessage):
        read('<!DOCTYPE xml [<!ENTITY a "haha">]><xml><Content>&a;</Content></xml>'.encode(encoding))


@pytest.mark.parametrize("character", ["\ufffe", "\uffff"])
def test_a_noncharacter_in_a_fans_text_is_dropped(character: str) -> None:
    assert read(content(f"a{character}b".encode()))["Content"] == "ab"


def test_an_element_with_nothing_but_white_space_is_none() -> None:
    assert read(b"<xml><a>\n </a><b><c>\n</c></b></xml>") == {"a": None, "b": {"c": None}}


def test_empty_elements_are_none() -> None:
    assert read(b"<xml><a/><b></b><c><![CDATA[]]></c></xml>") == {"a": None, "b": None, "c": None}


def test_nested_elements_are_dicts_and_repeated_ones_lists() -> None:
    xml = b"<xml><Count>3</Count><L><i><m>1</m></i>\n<i><m>2</m></i><i/></L></xml>"
    assert read(xml) == {"Count": "3", "L": {"i": [{"m": "1"}, {"m": "2"}, None]}}


def test_one_beacon_is_a_list_too() -> None:
    xml = b"<xml><AroundBeacons><AroundBeacon><Major>1</Major></AroundBeacon></AroundBeacons></xml>"
    assert read(xml) == {"AroundBeacons": {"AroundBeacon": [{"Major": "1"}]}}


def test_outer_space_of_a_fans_text_is_kept() -> None:
    assert read(content(b"  hi\n"))["Content"] == "  hi\n"


def test_entities_of_xml_itself_are_read() -> None:
    assert read(b"<xml><a>1 &lt; 2 &amp;&#20013;&#x6587;</a></xml>") == {"a": "1 < 2 &中文"}


def test_what_the_declaration_says_of_the_encoding_is_not_believed() -> None:
    xml = '<?xml version="1.0" encoding="gb2312"?><xml><a>中</a></xml>'.encode()
    assert read(xml) == {"a": "中"}


def test_a_byte_order_mark_does_no_harm() -> None:
    assert read(b"\xef\xbb\xbf<xml><a>1</a></xml>") == {"a": "1"}


@pytest.mark.parametrize("name", ["text", "image", "event_click", "event_subscribe_qr", "event_templatesendjobfinish"])
def test_the_quick_way_reads_what_nearly_every_message_is(name: str) -> None:
    assert _read_flat(SAMPLES[name]) == read_strictly(SAMPLES[name])


@pytest.mark.parametrize(
    "xml",
    [
        b"<xml><a>1</a><a>2</a></xml>",
        b"<xml><a><b>1</b></a></xml>",
        b"<xml><a>1</b></xml>",
        b"<xml><a><![CDATA[\x01]]></a></xml>",
        b"<xml><a><![CDATA[x]]]]></a></xml>",
        b"<xml><a><![CDATA[\xff]]></a></xml>",
        b"<xml><a>1&2</a></xml>",
        b"<xml><a>&lt;</a></xml>",
        b"<xml></xml>",
        b"<!DOCTYPE x><xml><a>1</a></xml>",
        b"<xml><a>1</a></xml><b>",
    ],
)
def test_the_quick_way_leaves_the_rest_to_the_strict_one(xml: bytes) -> None:
    assert _read_flat(xml) is None


def test_control_characters_in_a_fans_text_are_dropped() -> None:
    every = bytes(range(0x20))
    assert read(content(b"a" + every + b"\x7fb"))["Content"] == "a\t\n\n\x7fb"  # \r reads as \n, as in any XML


def test_control_characters_are_dropped_where_a_section_does_not_end_its_element() -> None:
    assert read(b"<xml><a><![CDATA[x\x01]]>y</a></xml>") == {"a": "xy"}


@pytest.mark.parametrize(
    "typed",
    [
        "<![CDATA[x]]>",
        "<![CDATA[]]>",
        "]]>",
        "]]>]]>",
        "a]]>b<c>&d",
        "<xml><Content><![CDATA[x]]></Text></xml>",
        "]]]]]>",
        "]]",
        "<Content>",
        "<Label><![CDATA[你好]]></Label>",
        "为什么？<xml><MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[你好]]></Content>\n</xml>",
        "x]]></Content>\n<MsgId>1</MsgId>\n</xml>",
        "x]]></Content><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[subscribe]]></Event><Content><![CDATA[y",
        "a]]><b/><![CDATA[c",
        "a]]>x<![CDATA[c",
        "</Content>",
        "<Content><![CDATA[",
        "]]></Content>",
        "]]></Content>]]></Content>",
    ],
)
def test_cdata_that_a_fan_types_comes_out_as_typed(typed: str) -> None:
    assert read(content(typed.encode())) == {"MsgType": "text", "Content": typed}


_TYPED = st.lists(
    st.sampled_from(
        [
            "<xml>",
            "</xml>",
            "<![CDATA[",
            "]]>",
            "]]",
            "\n",
            "<Content>",
            "</Content>",
            "<MsgId>1</MsgId>",
            "]]></Content>",
        ]
    )
    | st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), max_size=5)
).map("".join)


@given(
    typed=_TYPED,
    name=st.sampled_from(["Content", "Label", "Title", "Recognition", "EventKey"]),
    is_nested=st.booleans(),
)
def test_what_a_fan_types_is_read_as_typed_in_each_field_that_a_fan_writes(
    typed: str, name: str, is_nested: bool
) -> None:
    typed = typed.replace("Content", name)
    assume("]]]]><![CDATA[>" not in typed)  # XML's own way to write ]]>
    inside = f"<{name}><![CDATA[{typed}]]></{name}>"
    inside = f"<Info><Kind><![CDATA[k]]></Kind>{inside}</Info>" if is_nested else inside
    xml = f"<xml><MsgType><![CDATA[text]]></MsgType>\n{inside}\n<MsgId>7</MsgId></xml>"
    expected = {name: typed if typed.strip() else None}
    if is_nested:
        expected = {"Info": {"Kind": "k", **expected}}  # type: ignore[dict-item]
    assert read(xml.encode()) == {"MsgType": "text", **expected, "MsgId": "7"}


def test_what_a_fan_repeats_takes_no_longer_the_more_often_than_the_text_is_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []

    class Counting:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self.pattern = pattern

        def match(self, text: str, at: int) -> re.Match[str] | None:
            looks.append(at)
            return self.pattern.match(text, at)

    monkeypatch.setattr("app.callback.xml._SPACE", Counting(re.compile(r"[ \t\r\n]*")))
    counts = []
    for times in (500, 1000):
        looks.clear()
        assert read(content(b"]]></Content><Content><![CDATA[" * times))["Content"]
        counts.append(len(looks))
    assert counts[1] <= 2 * counts[0]


@pytest.mark.parametrize("name", ["Title", "Description", "Url"])
@pytest.mark.parametrize("typed", ["<Title><![CDATA[x]]></Title>", "]]></Url>", "a]]></Description></xml>", "]]>"])
def test_a_link_comes_as_written_whichever_part_looks_like_xml(name: str, typed: str) -> None:
    link = {"Title": "t", "Description": "d", "Url": "u"} | {name: typed}
    inside = "".join(f"<{key}><![CDATA[{value}]]></{key}>" for key, value in link.items())
    assert read(f"<xml><MsgType>link</MsgType>{inside}<MsgId>1</MsgId></xml>".encode()) == {
        "MsgType": "link",
        **link,
        "MsgId": "1",
    }


def test_a_line_break_before_the_declaration_does_no_harm() -> None:
    assert read(b'\n<?xml version="1.0"?><xml><a>1</a></xml>') == {"a": "1"}


def test_every_section_of_a_broken_message_is_mended() -> None:
    more = b"<Url><![CDATA[c\x02]]></Url><Info><Label><![CDATA[]]>]]></Label></Info>"
    xml = b"<xml><Title><![CDATA[a]]>b]]></Title>" + more + b"</xml>"
    assert read(xml) == {"Title": "a]]>b", "Url": "c", "Info": {"Label": "]]>"}}


def test_half_a_character_in_a_fans_text_is_replaced() -> None:
    assert read(content("好".encode()[:2] + b"!"))["Content"] == "\ufffd!"
    assert read(content(b"a\xff\xfeb"))["Content"] == "a\ufffd\ufffdb"


def test_strict_reading_mends_nothing() -> None:
    for text in (b"\x01", b"\xff", b"<![CDATA[x]]>"):
        with pytest.raises(BadMessage, match="not XML"):
            read_strictly(content(text))


@pytest.mark.parametrize(
    "xml",
    [
        b"<!DOCTYPE xml><xml><a>1</a></xml>",
        b'<?xml version="1.0"?>\n<!-- x --><!DOCTYPE xml SYSTEM "http://127.0.0.1/x.dtd"><xml><a>1</a></xml>',
        b'<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><a>&a;</a></xml>',
        b"<!DOCTYPE xml [" + ENTITIES + b"]><xml><a>&c;</a></xml>",
        b"<!DOCTYPE xml><xml><a><![CDATA[\x01]]></a></xml>",
        b"\x01<!DOC\x02TYPE xml><xml><a>1</a></xml>",
    ],
)
def test_a_doctype_is_refused(xml: bytes) -> None:
    with pytest.raises(BadMessage, match="DOCTYPE"):
        read(xml)


@pytest.mark.parametrize(
    "typed", ["<!DOCTYPE html>", "<!DOCTYPE html>\x01", "<!DOCTYPE html>]]>", "<!DOCTYPE x [<!ENTITY a 'b'>]>&a;"]
)
def test_a_fan_may_write_a_doctype(typed: str) -> None:
    assert read(content(typed.encode()))["Content"] == typed.replace("\x01", "")


def test_eight_levels_are_read_and_nine_are_not() -> None:
    fields: Any = read(nested(8))
    for _ in range(8):
        fields = fields["a"]
    assert fields == "1"
    with pytest.raises(BadMessage, match="nested more than 8 deep"):
        read(nested(9))


def test_as_many_levels_as_a_body_can_hold_are_refused() -> None:
    with pytest.raises(BadMessage, match="nested more than 8 deep"):
        read(nested(9_000))


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b" \n",
        b"success",
        b'{"ToUserName": "gh_7f083739789a"}',
        b"<xml>",
        b"<xml><a>1</a>",
        b"<xml><a>1</b></xml>",
        b"<xml><a>1</a></xml><xml><a>1</a></xml>",
        b"<xml><a>&nbsp;</a></xml>",
        b"<xml><a>&#0;</a></xml>",
        b"<xml><a><![CDATA[x</a></xml>",
        b"<xml><w:a>1</w:a></xml>",
        bytes(range(256)),
    ],
)
def test_what_is_not_xml_is_refused(xml: bytes) -> None:
    with pytest.raises(BadMessage, match="not XML"):
        read(xml)


@pytest.mark.parametrize(
    "xml",
    [b"<html><a>1</a></html>", b"<XML><a>1</a></XML>", b"<xml/>", b"<xml>text</xml>", b'<xml xmlns="x"><a>1</a></xml>'],
)
def test_another_root_or_an_empty_one_is_refused(xml: bytes) -> None:
    with pytest.raises(BadMessage, match="root is not <xml>"):
        read(xml)


def test_cdata_cannot_be_ended_by_its_text() -> None:
    assert cdata("a]]>b") == "<![CDATA[a]]]]><![CDATA[>b]]>"


def test_characters_that_xml_forbids_are_left_out() -> None:
    assert without_forbidden("a\x00\x0b\x1f\ud800\ufffe\uffffb\t\n\r\x7f\u2028😀") == "ab\t\n\r\x7f\u2028😀"


@given(st.one_of(st.text(), st.lists(st.sampled_from([*TOKENS, "\x00", "\x0c", "\ud800", "\ufffe"])).map("".join)))
@settings(max_examples=1000, deadline=None)
def test_any_text_comes_back_from_cdata_without_what_xml_forbids(text: str) -> None:
    kept = FORBIDDEN.sub("", text)
    assert without_forbidden(text) == kept
    fields = read_strictly(f"<xml><a>{cdata(text)}</a></xml>".encode())
    assert fields == {"a": as_read(kept)}


@given(st.one_of(texts, st.lists(st.sampled_from([*TOKENS, "\x00", "\x1f"])).map("".join)))
@settings(max_examples=1000, deadline=None)
def test_any_text_that_a_fan_types_is_read_though_nothing_in_it_is_escaped(text: str) -> None:
    kept = FORBIDDEN.sub("", text)
    assert read(content(text.encode())) == {"MsgType": "text", "Content": as_read(kept)}


@given(documents)
@settings(max_examples=1000, deadline=None)
def test_the_quick_way_agrees_with_the_strict_one_on_well_formed_documents(xml: bytes) -> None:
    assert _read_flat(xml) in (None, strictly_or_none(xml))


@given(st.sampled_from(FLAT), edits([*EDIT_TOKENS, *FORM_FEEDS]))
@settings(max_examples=1500, deadline=None)
def test_the_quick_way_agrees_with_the_strict_one_on_broken_documents(
    xml: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    broken = edited(xml, changes)
    flat = _read_flat(broken)
    assert flat is None or flat == strictly_or_none(broken)


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_bad_message(body: bytes) -> None:
    with pytest.raises(BadMessage):
        read(body)


@given(st.sampled_from([*SAMPLES.values()]), edits([*EDIT_TOKENS, *FORM_FEEDS]))
@settings(max_examples=2000, deadline=None)
def test_a_broken_sample_is_read_or_refused_and_never_raises_another_error(
    xml: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    with suppress(BadMessage):
        assert read(edited(xml, changes))
