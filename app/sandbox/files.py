"""The calls about files: temporary media, which WeChat forgets after 3 days, and permanent material."""

import json
import secrets
import time
from typing import Any

from app.sandbox.wechat import Answer, Call, Refusal, WeChat

_MEDIA_SECONDS = 3 * 86400
_MB = 1 << 20
_MEDIA_BYTES = {"image": 10 * _MB, "voice": 2 * _MB, "video": 10 * _MB, "thumb": 64 << 10}
# https://developers.weixin.qq.com/doc/offiaccount/Asset_Management/Adding_Permanent_Assets.html
_ENDINGS = {
    "image": ("bmp", "png", "jpeg", "jpg", "gif"),
    "voice": ("mp3", "wma", "wav", "amr"),
    "video": ("mp4",),
    "thumb": ("jpg", "jpeg"),
}
_MOST_VIDEO_TITLE, _MOST_PAGE = 30, 20
# How WeChat labels what it holds is not to be relied on: so is this.
_LABEL = "text/plain"


def upload(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/media/upload."""
    media_type = call.query.get("type", "")
    name = _checked(call, media_type, 40005)
    media_id = f"media_{secrets.token_urlsafe(40)}"
    account.setdefault("media", {})[media_id] = time.time() + _MEDIA_SECONDS
    account["unsaid"] = {"media": (media_id, media_type, name)}
    # https://developers.weixin.qq.com/doc/offiaccount/Asset_Management/New_temporary_materials.html
    known_as = "thumb_media_id" if media_type == "thumb" else "media_id"
    return {"type": media_type, known_as: media_id, "created_at": int(time.time())}


def get(wechat: WeChat, account: dict[str, Any], call: Call) -> Any:
    """GET /cgi-bin/media/get: the file."""
    media_id = call.query.get("media_id", "")
    found = wechat.state.media(media_id)
    if found is None or account.get("media", {}).get(media_id, 0) < time.time():
        raise Refusal(40007, "invalid media_id")
    if wechat.state.media_type(media_id) == "video":
        return {"video_url": f"http://vali.wxv.qq.com/{media_id}.mp4"}
    return found[1], account.get("label", _LABEL), found[0]


def upload_image(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/media/uploadimg: a picture for the text of an article, of which only its address is known."""
    name = _checked(call, "image", 40113)
    if len(call.files["media"][1]) > _MB:
        raise Refusal(40009, "invalid image size")
    return {"url": f"http://mmbiz.qpic.cn/mmbiz_png/{secrets.token_urlsafe(20)}/0?wx_fmt={name.rpartition('.')[2]}"}


def add_material(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/material/add_material; of a video, title and introduction are a field of the form, in UTF-8."""
    media_type = call.query.get("type", "")
    name = _checked(call, media_type, 40113)
    kept: dict[str, Any] = {"type": media_type, "name": name, "update_time": int(time.time())}
    if media_type == "video":
        kept |= _description(call.form.get("description", ""))
    media_id = f"material_{secrets.token_urlsafe(40)}"
    account.setdefault("materials", {})[media_id] = kept
    account["unsaid"] = {"media": (media_id, media_type, name)}
    url = {"url": f"http://mmbiz.qpic.cn/mmbiz_png/{media_id}/0"} if media_type in ("image", "thumb") else {}
    return {"media_id": media_id} | url


def get_material(wechat: WeChat, account: dict[str, Any], call: Call) -> Any:
    """POST /cgi-bin/material/get_material: the file, or what is said of a video."""
    media_id = str(call.body.get("media_id", ""))
    kept, found = account.get("materials", {}).get(media_id), wechat.state.media(media_id)
    if kept is None or found is None:
        raise Refusal(40007, "invalid media_id")
    if kept["type"] == "video":
        url = f"http://vali.wxv.qq.com/{media_id}.mp4"
        return {"title": kept["title"], "description": kept["introduction"], "down_url": url}
    return found[1], account.get("label", _LABEL), found[0]


def delete_material(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/material/del_material."""
    if account.get("materials", {}).pop(str(call.body.get("media_id", "")), None) is None:
        raise Refusal(40007, "invalid media_id")
    return {}


def list_materials(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/material/batchget_material."""
    media_type, count = call.body.get("type"), call.body.get("count")
    if media_type not in ("image", "video", "voice", "news"):
        raise Refusal(40004, "invalid media type")
    if not isinstance(count, int) or not 1 <= count <= _MOST_PAGE:
        raise Refusal(40097, "invalid args")
    known = account.get("materials", {}).items()
    items = [{"media_id": media_id, **kept} for media_id, kept in known if kept["type"] == media_type]
    page = items[int(call.body.get("offset", 0)) :][:count]
    return {"total_count": len(items), "item_count": len(page), "item": page}


def count_materials(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/material/get_materialcount."""
    types = [kept["type"] for kept in account.get("materials", {}).values()]
    return {f"{media_type}_count": types.count(media_type) for media_type in ("voice", "video", "image", "news")}


def is_forgotten(account: dict[str, Any], media_id: str) -> bool:
    """Tell whether this was a media_id of this account and is none any more; others stand for what is at WeChat."""
    if media_id.startswith("material_"):
        return media_id not in account.get("materials", {})
    return media_id.startswith("media_") and account.get("media", {}).get(media_id, 0) < time.time()


def _checked(call: Call, media_type: str, wrong_ending: int) -> str:
    """Return the name of the file that is uploaded. Raises the Refusal of what WeChat does not take."""
    if media_type not in _MEDIA_BYTES:
        raise Refusal(40004, "invalid media type")
    name, data = call.files.get("media", ("", b""))
    if not data or not name.isascii():
        raise Refusal(41005, "media data missing")
    if name.rpartition(".")[2].lower() not in _ENDINGS[media_type] or "." not in name:
        raise Refusal(wrong_ending, "unsupported file type" if wrong_ending == 40113 else "invalid file type")
    if len(data) > _MEDIA_BYTES[media_type]:
        raise Refusal(45001, "media size out of limit")
    return name


def _description(text: str) -> dict[str, str]:
    try:
        told = json.loads(text)
        title, introduction = str(told["title"]), str(told["introduction"])
    except (ValueError, KeyError, TypeError):
        raise Refusal(41005, "media data missing description") from None
    if "\\u" in text:  # taken for text as it stands
        title, introduction = title.encode("unicode-escape").decode(), introduction.encode("unicode-escape").decode()
    if not 1 <= len(title) <= _MOST_VIDEO_TITLE:
        raise Refusal(45003, "title size out of limit")
    return {"title": title, "introduction": introduction}
