"""wechatpy's calls, by the names of its documentation, as WeChat takes them today."""

import io
from pathlib import Path
from typing import Any

import pytest

from app.api.client import Client
from app.errors import ApiError
from tests.wechat_server import WeChatServer

PNG, JPEG, AMR, MP4 = b"\x89PNG\r\n\x1a\n\0", b"\xff\xd8\xff\xe0\0", b"#!AMR\n\x04", b"\0\0\0\x18ftypmp42"
SEND_ALL = "/cgi-bin/message/mass/sendall"


def last_body(server: WeChatServer, path: str) -> dict[str, Any]:
    body: dict[str, Any] = [call["body"] for call in server.wechat.calls if call["path"] == path][-1]
    return body


def test_a_mass_message_goes_to_a_tag_or_to_everybody(client: Client, server: WeChatServer) -> None:
    client.message.send_mass_text(100, "大家好", client_msg_id="one")
    assert last_body(server, SEND_ALL) == {
        "msgtype": "text",
        "text": {"content": "大家好"},
        "filter": {"is_to_all": False, "tag_id": 100},
        "send_ignore_reprint": 0,
        "clientmsgid": "one",
    }
    client.message.send_mass_text(None, "大家好", is_to_all=True)
    assert last_body(server, SEND_ALL)["filter"] == {"is_to_all": True}
    with pytest.raises(ApiError, match="45065"):
        client.message.send_mass_text("100", "大家好", client_msg_id="one")


def test_every_kind_of_mass_message_is_taken(client: Client, server: WeChatServer) -> None:
    calls = client.message
    previews = [(name, {"preview": True}) for name in ("o" * 28, "wxname")]
    for whom, kwargs in ((7, {}), (["oA12345", "oB12345"], {}), *previews):
        calls.send_mass_text(whom, "text", **kwargs)
        calls.send_mass_image(whom, "m", **kwargs)
        calls.send_mass_voice(whom, "m", **kwargs)
        calls.send_mass_video(whom, "m", "title", "description", **kwargs)
        calls.send_mass_article(whom, "m", **kwargs)
        calls.send_mass_card(whom, "c", **kwargs)
    sent = calls.send_mass_article(7, "m")
    assert calls.get_mass(sent["msg_id"])["msg_status"] == "SEND_SUCCESS"
    calls.delete_mass(sent["msg_id"])
    assert {call["errcode"] for call in server.wechat.calls} == {0}


def test_a_template_is_added_with_its_keywords_and_sent_once(client: Client, server: WeChatServer) -> None:
    with pytest.raises(ApiError, match="40246"):
        client.template.add("TM00015")
    template_id = client.template.add("TM00015", ["时间", "地点"])
    assert client.template.get_all_private_template()["template_list"][0]["template_id"] == template_id
    data = {"thing1": {"value": "明天"}}
    ids = [client.message.send_template("oA12345", template_id, data, client_msg_id="a")["msgid"] for _ in range(2)]
    assert ids[0] == ids[1] != client.message.send_template("oA12345", template_id, data)["msgid"]
    assert "url" not in last_body(server, "/cgi-bin/message/template/send")
    client.template.del_private_template(template_id)
    with pytest.raises(ApiError, match="40037"):
        client.message.send_template("oA12345", template_id, data)


def test_a_permanent_video_is_described_in_the_form_in_utf8(client: Client, server: WeChatServer) -> None:
    made = client.material.add("video", ("a.mp4", MP4), "标题🐼", "说明")["media_id"]
    said = client.material.get(made)
    assert (said["title"], said["description"]) == ("标题🐼", "说明")
    path = "/cgi-bin/material/add_material"
    assert [call["query"].keys() for call in server.wechat.calls if call["path"] == path] == [{"access_token", "type"}]
    with pytest.raises(ValueError, match="title and an introduction"):
        client.material.add("video", ("a.mp4", MP4), "标题")


@pytest.mark.parametrize(
    ("media_type", "content", "ending"),
    [
        ("image", PNG, "png"),
        ("image", JPEG, "jpg"),
        ("voice", AMR, "amr"),
        ("video", MP4, "mp4"),
        ("thumb", JPEG, "jpg"),
    ],
    ids=str,
)
@pytest.mark.parametrize("how", ["bytes", "stream", "path", "tuple"])
def test_an_upload_has_a_name_that_wechat_takes(
    how: str, media_type: str, content: bytes, ending: str, client: Client, server: WeChatServer, tmp_path: Path
) -> None:
    path = tmp_path / "图 片"
    path.write_bytes(content)
    with path.open("rb") as file:
        given = {"bytes": content, "stream": io.BytesIO(content), "path": file, "tuple": ("图.dat", content)}[how]
        made = client.media.upload(media_type, given)
        if hasattr(given, "seek"):
            given.seek(0)
        kept = client.material.add(media_type, given, "title", "introduction")["media_id"]
    for media_id in (made.get("media_id") or made["thumb_media_id"], kept):
        assert server.wechat.state.media(media_id) == (f"media.{ending}", content)


def test_a_picture_of_an_article_is_uploaded_from_bytes(client: Client) -> None:
    assert client.media.upload_image(PNG).startswith("http")
    assert client.media.upload_image(("mine.png", PNG)).startswith("http")


@pytest.mark.parametrize(
    ("media_type", "file", "errcode"),
    [
        ("image", ("a.txt", b"text"), 40005),
        ("image", b"text", 40005),
        ("image", ("a.png", b""), 41005),
        ("voice", ("a.amr", b"#!AMR\n" + b"\0" * (2 << 20)), 45001),
        ("news", ("a.png", PNG), 40004),
    ],
)
def test_the_played_wechat_refuses_an_upload_as_wechat_does(
    media_type: str, file: Any, errcode: int, client: Client
) -> None:
    with pytest.raises(ApiError, match=str(errcode)):
        client.media.upload(media_type, file)


def test_articles_are_kept_as_drafts(client: Client) -> None:
    article = {"title": "标题", "content": "<p>正文</p>", "thumb_media_id": "t", "show_cover_pic": 1}
    made = client.material.add_articles([{**article, "need_open_comment": True}])["media_id"]
    client.material.update_articles(made, 0, [{**article, "title": "新标题"}])
    kept = client.draft.get(made)["news_item"]
    assert kept == [{"title": "新标题", "content": "<p>正文</p>", "thumb_media_id": "t"}]


def test_a_fan_sees_that_somebody_is_typing(client: Client, server: WeChatServer) -> None:
    client.message.send_typing("oA")
    client.message.send_typing("oA", is_typing=False)
    said = [call["body"]["command"] for call in server.wechat.calls if call["path"].endswith("/typing")]
    assert said == ["Typing", "CancelTyping"]


def test_materials_are_counted_listed_and_deleted(client: Client) -> None:
    made = client.material.add("image", PNG)["media_id"]
    assert client.material.get_count()["image_count"] == 1
    assert client.material.batchget("image")["item"][0]["media_id"] == made
    client.material.delete(made)
    with pytest.raises(ApiError, match="40007"):
        client.material.get(made)


def test_an_agent_of_customer_service_has_no_password(client: Client, server: WeChatServer) -> None:
    client.customservice.add_account("ann@shop", "安", "secret")
    client.customservice.update_account("ann@shop", "安安")
    assert [agent["kf_nick"] for agent in client.customservice.get_accounts()] == ["安安"]
    assert last_body(server, "/customservice/kfaccount/add") == {"kf_account": "ann@shop", "nickname": "安"}
