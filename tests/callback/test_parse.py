import copy
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.dom import minidom

import pytest
import wechatpy
from hypothesis import given, settings
from hypothesis import strategies as st
from wechatpy import events, messages

from app.callback.parse import parse
from app.callback.xml import Fields, read
from app.errors import BadMessage
from app.sandbox.messages import event_message, text_message
from app.table.known import EVENTS, MESSAGE_TYPES

OPENID = "oTGq1uNf3mcV7yXwR2hKdLb9ZsEA"
SAMPLES = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "samples").glob("*.xml"))}
SCENES = {
    "event_scan": "poster-7",
    "event_subscribe_qr": "poster-7",
    "event_subscribe_product": "scanbarcode",
    "event_subscribe_product_image": "scanimage",
    "event_user_scan_product": 2,
}
LACKED = {
    "publishjobfinish",
    "subscribe_msg_popup_event",
    "subscribe_msg_change_event",
    "subscribe_msg_sent_event",
    "user_info_modified",
    "user_authorization_revoke",
    "user_authorization_cancellation",
    "giftcard_pay_done",
    "giftcard_send_to_friend",
    "giftcard_user_accept",
    "cloud_invoice_invoiceresult_event",
    "guide_qrcode_scan_event",
    "guide_invite_result_event",
    "debug_demo",
}
MISSPELT = {"wificonnected", "shakearoundusershake"}
ONE_BEACON = {"around_beacons", "_around_beacons"}  # where wechatpy wants a list and gets none

every_sample = pytest.mark.parametrize("name", SAMPLES)


def parsed(name: str, **changes: str | None) -> Any:
    """Parse the sample with some of its fields changed, or left out where the change is None."""
    fields = read(SAMPLES[name]) | changes
    return parse({name: value for name, value in fields.items() if value is not None or name not in changes})


def as_the_xml_says(element: minidom.Element) -> Any:
    children = [node for node in element.childNodes if isinstance(node, minidom.Element)]
    if not children:
        return "".join(node.data for node in element.childNodes if isinstance(node, minidom.Text)) or None
    values: dict[str, list[Any]] = {}
    for child in children:
        values.setdefault(child.tagName, []).append(as_the_xml_says(child))
    lists = [name for name, repeated in values.items() if len(repeated) > 1 or name == "AroundBeacon"]
    return {name: repeated if name in lists else repeated[0] for name, repeated in values.items()}


def said(name: str) -> Fields:
    document = minidom.parseString(SAMPLES[name])
    assert document.documentElement is not None
    fields: Fields = as_the_xml_says(document.documentElement)
    return fields


def attribute_names(cls: type) -> set[str]:
    """Return the names of all that wechatpy reads from the XML."""
    names: set[str] = set()
    for base in cls.__mro__:
        names |= set(vars(base).get("_fields", {}))
        names |= {name for name, value in vars(base).items() if isinstance(value, property) and name != "session"}
    return names


def wechatpys_own(name: str) -> Any:
    return wechatpy.parse_message(SAMPLES[name])


def is_known_to_wechatpy(name: str) -> bool:
    return not isinstance(wechatpys_own(name), messages.UnknownMessage)


KNOWN_SAMPLES = [name for name in SAMPLES if is_known_to_wechatpy(name)]
OTHER_SAMPLES = [name for name in SAMPLES if not is_known_to_wechatpy(name)]


def test_every_type_and_event_that_wechatpy_knows_has_a_sample() -> None:
    classes = {type(wechatpys_own(name)) for name in KNOWN_SAMPLES}
    assert classes == {*messages.MESSAGE_TYPES.values(), *events.EVENT_TYPES.values()}


def test_every_type_and_event_that_wechat_documents_has_a_sample() -> None:
    fields = [said(name) for name in SAMPLES]
    assert {each["MsgType"] for each in fields} == MESSAGE_TYPES
    assert {each["Event"].lower() for each in fields if each["MsgType"] == "event"} == EVENTS


def test_the_samples_that_wechatpy_does_not_know_are_those_that_it_lacks() -> None:
    assert {said(name).get("Event", "").lower() for name in OTHER_SAMPLES} == {*LACKED, ""}


@every_sample
def test_a_sample_has_the_fields_that_its_xml_says(name: str) -> None:
    assert parsed(name).fields == said(name)


@every_sample
def test_a_sample_has_the_attributes_that_its_xml_says(name: str) -> None:
    message, fields = parsed(name), said(name)
    assert message.openid == OPENID
    assert message.msg_type == fields["MsgType"]
    assert message.event == (fields["Event"].lower() if "Event" in fields else None)
    assert message.event_key == fields.get("EventKey")
    assert message.scene == SCENES.get(name)
    assert message.match is None


@pytest.mark.parametrize("name", KNOWN_SAMPLES)
def test_a_sample_that_wechatpy_knows_is_an_object_of_wechatpys_class(name: str) -> None:
    message, own = parsed(name), wechatpys_own(name)
    assert isinstance(message, type(own))
    assert message.type == own.type


@pytest.mark.parametrize("name", KNOWN_SAMPLES)
def test_a_sample_that_wechatpy_knows_reads_as_wechatpy_reads_it(name: str) -> None:
    message, own = parsed(name), wechatpys_own(name)
    names = attribute_names(type(own)) - (ONE_BEACON if name == "event_shakearoundusershake_one" else set())
    assert {"id", "source", "target", "time", "create_time"} <= names
    assert {name: getattr(message, name) for name in names} == {name: getattr(own, name) for name in names}


@every_sample
def test_fields_do_not_change_when_attributes_are_read(name: str) -> None:
    fields = read(SAMPLES[name])
    message, before = parse(fields), copy.deepcopy(fields)
    for attribute in attribute_names(type(message)):
        getattr(message, attribute)
    assert message.fields == before
    assert fields == before


@pytest.mark.parametrize("name", [name for name in SAMPLES if said(name).get("Event", "").lower() in LACKED | MISSPELT])
def test_an_event_that_wechatpy_lacks_or_misspells_is_a_full_event(name: str) -> None:
    message, fields = parsed(name), said(name)
    assert isinstance(message, events.BaseEvent)
    assert (message.type, message.event) == ("event", fields["Event"].lower())
    assert (message.source, message.target) == (OPENID, "gh_7f083739789a")
    assert message.time == int(fields["CreateTime"])


def test_a_file_has_its_own_type_though_wechatpy_lacks_it() -> None:
    message = parsed("file")
    assert (message.type, message.msg_type, message.event) == ("file", "file", None)
    assert message.id == 24530000000000109
    assert message.fields["FileTotalLen"] == "20481"


def test_a_type_and_an_event_of_tomorrow_are_read() -> None:
    message = parsed("text", MsgType="Hologram")
    assert (message.type, message.msg_type, message.event) == ("hologram", "hologram", None)
    message = parsed("event_click", Event="Telepathy")
    assert (message.type, message.msg_type, message.event) == ("event", "event", "telepathy")
    assert message.event_key == "V1001_TODAY"


def test_a_follow_has_neither_key_nor_scene() -> None:
    message = parsed("event_subscribe")
    assert isinstance(message, events.SubscribeEvent)
    assert (message.event, message.event_key, message.scene) == ("subscribe", None, None)


def test_a_follow_by_qr_code_has_its_scene() -> None:
    message = parsed("event_subscribe_qr")
    assert isinstance(message, events.SubscribeScanEvent)
    assert (message.event, message.event_key, message.scene) == ("subscribe", "qrscene_poster-7", "poster-7")
    assert message.scene_id == "poster-7"
    assert message.ticket == message.fields["Ticket"]
    assert message.fields["EventKey"] == "qrscene_poster-7"


def test_a_followers_scan_has_its_scene() -> None:
    message = parsed("event_scan")
    assert isinstance(message, events.ScanEvent)
    assert (message.event, message.event_key, message.scene) == ("scan", "poster-7", "poster-7")


def test_a_followers_scan_keeps_a_scene_that_looks_like_wechats_prefix() -> None:
    assert parsed("event_scan", EventKey="qrscene_7").scene == "qrscene_7"
    assert parsed("event_subscribe_qr", EventKey="qrscene_qrscene_7").scene == "qrscene_7"


def test_a_follow_from_a_products_page_has_wechatpys_scene() -> None:
    message = parsed("event_subscribe_product")
    assert isinstance(message, events.SubscribeScanProductEvent)
    assert (message.event, message.event_key) == ("subscribe", "scanbarcode|ean13|6901481811083")
    assert (message.scene, message.standard, message.key) == ("scanbarcode", "ean13", "6901481811083")


def test_a_menus_key_is_no_scene() -> None:
    message = parsed("event_click")
    assert (message.event_key, message.scene) == ("V1001_TODAY", None)


def test_one_beacon_around_is_read_where_wechatpy_fails() -> None:
    message, own = parsed("event_shakearoundusershake_one"), wechatpys_own("event_shakearoundusershake_one")
    beacon = {"uuid": "FDA50693-A4E2-4FB1-AFCF-C6EB07647825", "major": "10197", "minor": "49839", "distance": 166.816}
    assert message.around_beacons == [beacon]
    with pytest.raises(TypeError):
        _ = own.around_beacons


def test_one_picture_and_several_are_lists() -> None:
    assert [len(parsed(f"event_pic_{name}").pictures) for name in ("sysphoto", "photo_or_album", "weixin")] == [1, 2, 3]


def test_a_device_event_keeps_wechats_own_words() -> None:
    message = parsed("device_event_bind")
    assert isinstance(message, events.DeviceBindEvent)
    assert (message.msg_type, message.event) == ("device_event", "bind")
    assert message.content == "hello device"


def test_a_devices_text_is_a_message_without_an_event() -> None:
    message = parsed("device_text")
    assert isinstance(message, events.DeviceTextEvent)
    assert (message.msg_type, message.event) == ("device_text", None)
    assert message.content == "温度：23℃"


def test_types_and_events_are_compared_in_lower_case_and_without_outer_space() -> None:
    assert isinstance(parsed("text", MsgType=" Text\n"), messages.TextMessage)
    message = parsed("event_view", MsgType="EVENT", Event=" View ", FromUserName=f" {OPENID} ")
    assert isinstance(message, events.ViewEvent)
    assert (message.openid, message.msg_type, message.event) == (OPENID, "event", "view")


@pytest.mark.parametrize("missing", ["FromUserName", "ToUserName", "MsgType"])
@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_message_without_what_every_message_has_is_refused(missing: str, value: str | None) -> None:
    with pytest.raises(BadMessage, match=f"no {missing}"):
        parsed("text", **{missing: value})


@pytest.mark.parametrize("value", [None, "", " "])
def test_an_event_without_its_name_is_refused(value: str | None) -> None:
    with pytest.raises(BadMessage, match="no Event"):
        parsed("event_click", Event=value)


@pytest.mark.parametrize("name", ["FromUserName", "ToUserName", "MsgType"])
def test_a_text_that_adds_another_sender_or_type_is_refused(name: str) -> None:
    typed = f"x]]></Content><{name}><![CDATA[event]]></{name}><Note><![CDATA[".encode()
    xml = SAMPLES["text"].replace(b"]]></Content>", typed + b"]]></Note>")
    with pytest.raises(BadMessage, match=f"no {name}"):
        parse(read(xml))


def test_what_has_no_text_where_text_belongs_is_refused() -> None:
    with pytest.raises(BadMessage, match="no FromUserName"):
        parse(
            read(b"<xml><ToUserName>a</ToUserName><FromUserName><b>c</b></FromUserName><MsgType>text</MsgType></xml>")
        )


def test_a_sealed_message_in_normal_mode_is_refused_with_the_reason() -> None:
    with pytest.raises(BadMessage, match="it is sealed, and WECHAT_ENCRYPT_MODE is normal"):
        parse(read(b"<xml><ToUserName><![CDATA[gh_7f083739789a]]></ToUserName><Encrypt><![CDATA[x]]></Encrypt></xml>"))


@pytest.mark.parametrize(
    ("name", "field", "attribute"),
    [
        ("text", "CreateTime", "time"),
        ("text", "CreateTime", "create_time"),
        ("text", "MsgId", "id"),
        ("event_location", "Latitude", "latitude"),
        ("event_masssendjobfinish", "TotalCount", "total_count"),
        ("event_annual_renew", "ExpiredTime", "expired_time"),
        ("event_user_scan_product", "Scene", "scene"),
    ],
)
def test_a_bad_number_fails_when_it_is_read_and_not_before(name: str, field: str, attribute: str) -> None:
    message = parsed(name, **{field: "soon"})
    assert message.fields[field] == "soon"
    with pytest.raises(ValueError, match="soon"):
        getattr(message, attribute)


def test_a_key_that_is_not_a_text_is_no_key() -> None:
    xml = SAMPLES["event_scan"].replace(b"<![CDATA[poster-7]]>", b"<a>1</a>")
    message = parse(read(xml))
    assert (message.event_key, message.scene) == (None, None)


def test_the_session_is_there_only_while_a_handler_runs() -> None:
    with pytest.raises(RuntimeError, match="while a handler runs"):
        _ = parsed("text").session


def test_messages_of_one_type_share_nothing() -> None:
    one, other = parsed("event_subscribe_qr"), parsed("event_subscribe_qr", EventKey="qrscene_8")
    one.match = "mine"
    assert (one.scene, other.scene, other.match) == ("poster-7", "8", None)
    assert wechatpys_own("event_subscribe_qr").event == "subscribe_scan"


texts = st.one_of(st.none(), st.sampled_from(["", " ", "event", "EVENT", "device_", "device_x", "qrscene_"]), st.text())
words = st.sampled_from(sorted({*MESSAGE_TYPES, *EVENTS, *events.EVENT_TYPES, "unknown"}))
values = st.one_of(words, texts, st.lists(texts, max_size=2), st.dictionaries(st.text(), texts, max_size=1))
FIELD_NAMES = [
    "FromUserName",
    "ToUserName",
    "MsgType",
    "Event",
    "EventKey",
    "CreateTime",
    "Encrypt",
    "Scene",
    "Content",
]


@given(st.sampled_from(sorted(SAMPLES)), st.dictionaries(st.sampled_from(FIELD_NAMES), values, max_size=3))
@settings(max_examples=1000, deadline=None)
def test_whatever_the_fields_hold_parsing_raises_nothing_but_bad_message(name: str, changes: Fields) -> None:
    fields = read(SAMPLES[name]) | changes
    with suppress(BadMessage):
        assert parse(copy.deepcopy(fields)).fields == fields


TEXT, CLICK = text_message("oFan1", "hi"), event_message("oFan1", "CLICK", "V1")
EVENT = event_message("oFan1", "x")


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (TEXT, ("<FromUserName><![CDATA[oFan1", "<FromUserName><![CDATA[oFan2")),
        (TEXT, ("<MsgId>", "<MsgId>9")),
        (CLICK, ("<FromUserName><![CDATA[oFan1", "<FromUserName><![CDATA[oFan2")),
        (CLICK, ("<CreateTime>", "<CreateTime>9")),
        (CLICK, ("CLICK", "VIEW")),
        (CLICK, ("V1", "V2")),
        (CLICK, ("</xml>", "<MsgID>7</MsgID></xml>")),
        (re.sub("<MsgId>[0-9]+", "<MsgId>0", TEXT), ("hi", "ho")),
        (re.sub("<MsgId>[0-9]+", "<MsgId>", TEXT), ("hi", "ho")),
        (re.sub("<MsgId>[0-9]+</MsgId>", "", TEXT), ("hi", "ho")),
    ],
)
def test_another_message_is_known_by_what_the_contract_names(message: str, change: tuple[str, str]) -> None:
    changed = message.replace(*change)
    assert changed != message
    assert parse(read(changed.encode())).identity != parse(read(message.encode())).identity


_FIELDS = st.dictionaries(
    st.sampled_from(["EventKey", "MsgID", "Status", "UserCardCode", "CardId", "Content", "SessionID", "OpenID"]),
    st.none() | st.text(max_size=3) | st.dictionaries(st.sampled_from("ab"), st.text(max_size=2), max_size=2),
)


@given(
    one=_FIELDS,
    other=_FIELDS,
    msg_id=st.sampled_from([None, "", "0", "00"]),
    kind=st.sampled_from(["event", "device_text"]),
)
def test_what_has_no_id_of_its_own_is_known_by_all_that_it_says(
    one: Fields, other: Fields, msg_id: str | None, kind: str
) -> None:
    head = {"ToUserName": "gh", "FromUserName": "oFan", "CreateTime": "1700000000", "MsgType": kind, "MsgId": msg_id}
    if kind == "event":
        head["Event"] = "x"
        one, other = ({**fields, "Event": "x"} for fields in (one, other))
    first, second = (parse(head | fields).identity for fields in (one, other))
    assert (first == second) == (one == other)
    assert parse(dict(reversed((head | one).items()))).identity == first


def test_an_event_is_known_by_more_than_its_id() -> None:
    events = [EVENT.replace("</xml>", f"<MsgId>7</MsgId><Status>{status}</Status></xml>") for status in ("a", "b")]
    assert len({parse(read(event.encode())).identity for event in events}) == 2


def test_a_message_is_the_same_whatever_else_is_in_it() -> None:
    assert parse(read(TEXT.replace("hi", "ho").encode())).identity == parse(read(TEXT.encode())).identity


anything_said = st.dictionaries(st.text(min_size=1), st.one_of(st.none(), st.text(), st.lists(st.text())), max_size=4)


@given(anything_said, anything_said)
def test_events_are_the_same_where_they_say_the_same(one: Fields, other: Fields) -> None:
    event = read(CLICK.encode())
    first, second = {**one, **event}, {**other, **event}
    assert (parse(first).identity == parse(second).identity) == (first == second)


def test_events_that_carry_the_same_msgid_are_known_by_the_rest() -> None:
    event = {**read(CLICK.encode()), "MsgId": "7"}
    assert parse({**event, "Status": "a"}).identity != parse({**event, "Status": "b"}).identity


def test_a_redelivery_sealed_anew_is_the_same_event() -> None:
    event = read(CLICK.encode())
    assert parse({**event, "Encrypt": "a"}).identity == parse({**event, "Encrypt": "b"}).identity


@pytest.mark.parametrize(
    ("create_time", "asked"), [("1700000000", 1_700_000_000), ("soon", 0), ("", 0), ("-1", 0), ("9" * 5000, 0)]
)
def test_when_a_fan_sent_it_is_known_where_it_says_so(create_time: str, asked: int) -> None:
    changed = re.sub("<CreateTime>[0-9]+", f"<CreateTime>{create_time}", TEXT)
    assert parse(read(changed.encode())).asked == asked
