import copy
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wechatpy.replies import (
    ArticlesReply,
    DeviceTextReply,
    EmptyReply,
    ImageReply,
    MusicReply,
    TextReply,
    TransferCustomerServiceReply,
    VideoReply,
    VoiceReply,
)

from app.blank import without_forbidden
from app.callback import xml
from app.callback.parse import parse
from app.callback.render import render
from app.errors import BadReply
from app.sandbox.messages import event_message, text_message
from tests.actors import OPENID

TEXT = parse(xml.read(text_message(OPENID, "hi").encode()))
EVENT = parse(xml.read(event_message(OPENID, "CLICK", "V1").encode()))
ARTICLE = {"title": "标题", "description": "描述", "image": "https://x/i.png", "url": "https://x/?a=1&b=2"}


def rendered(value: Any, message: Any = TEXT) -> dict[str, Any]:
    return xml.read_strictly(render(value, message, 1714037059).encode())


def test_a_text_goes_back_to_the_fan_who_wrote() -> None:
    assert rendered("你好") == {
        "ToUserName": OPENID,
        "FromUserName": TEXT.target,
        "CreateTime": "1714037059",
        "MsgType": "text",
        "Content": "你好",
    }


REPLIES = [
    (TextReply(content="hi"), {"MsgType": "text", "Content": "hi"}),
    (ImageReply(media_id="m1"), {"MsgType": "image", "Image": {"MediaId": "m1"}}),
    (VoiceReply(media_id="m2"), {"MsgType": "voice", "Voice": {"MediaId": "m2"}}),
    (
        VideoReply(media_id="m3", title="t", description="d"),
        {"MsgType": "video", "Video": {"MediaId": "m3", "Title": "t", "Description": "d"}},
    ),
    (VideoReply(media_id="m3"), {"MsgType": "video", "Video": {"MediaId": "m3"}}),
    (
        MusicReply(thumb_media_id="m4", title="t", music_url="http://x/1", hq_music_url="http://x/2"),
        {
            "MsgType": "music",
            "Music": {"Title": "t", "MusicUrl": "http://x/1", "HQMusicUrl": "http://x/2", "ThumbMediaId": "m4"},
        },
    ),
    (TransferCustomerServiceReply(), {"MsgType": "transfer_customer_service"}),
    (
        TransferCustomerServiceReply(kf_account="test1@test"),
        {"MsgType": "transfer_customer_service", "TransInfo": {"KfAccount": "test1@test"}},
    ),
    (
        ArticlesReply(articles=[ARTICLE]),
        {
            "MsgType": "news",
            "ArticleCount": "1",
            "Articles": {
                "item": {
                    "Title": "标题",
                    "Description": "描述",
                    "PicUrl": "https://x/i.png",
                    "Url": "https://x/?a=1&b=2",
                }
            },
        },
    ),
]


@pytest.mark.parametrize(("reply", "fields"), REPLIES, ids=lambda value: getattr(value, "type", ""))
def test_a_wechatpy_reply_has_its_fields_and_is_not_changed(reply: Any, fields: dict[str, Any]) -> None:
    before = copy.deepcopy(vars(reply))
    assert fields.items() <= rendered(reply).items()
    assert vars(reply) == before


def test_a_reply_made_for_one_fan_is_sent_to_the_one_who_wrote() -> None:
    other = parse(xml.read(text_message("oSomebodyElse", "hi").encode()))
    assert rendered(TextReply(message=other, content="hi"))["ToUserName"] == OPENID


@pytest.mark.parametrize(
    "value", [None, "", [], (), EmptyReply(), TextReply(content=""), "\x00\x08", "\n", " \u3000", "\x01 "]
)
def test_nothing_to_say_is_silence(value: Any) -> None:
    assert render(value, TEXT, 0) == ""


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (42, "returned int; expected a str"),
        (0, "returned int"),
        (False, "returned bool"),
        ({}, "returned dict"),
        (b"bytes", "returned bytes"),
        (object(), "returned object"),
        (TextReply(), "content is NoneType"),
        (TextReply(content=5), "content is int"),
        (ImageReply(), "image has no media_id"),
        (VoiceReply(media_id=""), "voice has no media_id"),
        (VideoReply(title="t"), "video has no media_id"),
        (MusicReply(title="t"), "music has no thumb_media_id"),
        (DeviceTextReply(content="x"), "type 'device_text'"),
        (["not an article"], "an article is str"),
        ([{}], "an article has no title"),
        ([{"titel": "x"}], r"an article is \['titel'\]; expected"),
    ],
)
def test_what_cannot_be_sent_is_named(value: Any, reason: str) -> None:
    with pytest.raises(BadReply, match=reason):
        render(value, TEXT, 0)


def test_an_article_without_url_or_picture_has_no_empty_ones() -> None:
    article = {"title": "t", "url": "", "image": None, "description": " "}
    assert rendered([article])["Articles"] == {"item": {"Title": "t"}}


@given(st.text(alphabet=" \n\u3000\x00\x01a", max_size=4))
def test_a_blank_part_never_goes_out(part: str) -> None:
    is_blank = not part.translate({0: None, 1: None}).strip()
    assert (render(part, TEXT, 1) == "") == is_blank
    for value in ([{"title": part}], ImageReply(media_id=part), MusicReply(thumb_media_id=part)):
        with pytest.raises(BadReply) if is_blank else nullcontext():
            assert render(value, TEXT, 1)


@pytest.mark.parametrize(("text", "sent_bytes"), [("x" * 2047, 2047), ("x" * 2048, 2047), ("好" * 700, 2046)])
def test_a_long_text_is_cut_on_a_character(text: str, sent_bytes: int, caplog: pytest.LogCaptureFixture) -> None:
    content = rendered(text)["Content"]
    assert len(content.encode()) == sent_bytes
    assert text.startswith(content)
    assert ("text cut from" in caplog.text) == (content != text)


@pytest.mark.parametrize(("message", "most"), [(TEXT, 1), (EVENT, 8)], ids=["message", "event"])
def test_articles_are_cut_to_what_wechat_takes(message: Any, most: int, caplog: pytest.LogCaptureFixture) -> None:
    fields = rendered([ARTICLE | {"title": str(number)} for number in range(9)], message)
    items = fields["Articles"]["item"]
    assert fields["ArticleCount"] == str(most)
    assert (items["Title"] if most == 1 else [item["Title"] for item in items]) == (
        "0" if most == 1 else list("01234567")
    )
    assert f"articles cut from 9 to {most}" in caplog.text


@given(st.text(max_size=300))
def test_any_text_arrives_as_written_but_for_what_xml_forbids(text: str) -> None:
    allowed = without_forbidden(text).replace("\r\n", "\n").replace("\r", "\n")
    data = render(text, TEXT, 0).encode()
    assert (xml.read_strictly(data)["Content"] == allowed) if data else not allowed.strip()


@pytest.mark.parametrize("text", ["]]>", "a]]>b]]>", "]]><MsgType>event</MsgType><![CDATA["])
def test_a_text_cannot_inject_elements(text: str) -> None:
    assert rendered(text)["Content"] == text
    assert rendered([ARTICLE | {"title": text}])["Articles"]["item"]["Title"] == text
    assert rendered(ImageReply(media_id=text))["Image"] == {"MediaId": text}
