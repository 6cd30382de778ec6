"""What each call of the API does, one function a call: ``ENDPOINTS`` names them by method and path."""

import io
import secrets
import time
from typing import Any

import segno

from app.sandbox import drafts, files, menus, notices, reads
from app.sandbox.login import oauth_token, oauth_user
from app.sandbox.wechat import Answer, Call, Endpoint, Refusal, WeChat

_TEMPORARY_MOST_SECONDS = 2592000
_TICKET_SECONDS = 7200


def stable_token(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/stable_token."""
    _check_account(wechat, call.body)
    return wechat.new_token(account, force=bool(call.body.get("force_refresh")))


def plain_token(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/token: a token apart from the stable one."""
    _check_account(wechat, call.query)
    account["plain_token"] = f"plain_{secrets.token_urlsafe(96)}"
    return {"access_token": account["plain_token"], "expires_in": _TICKET_SECONDS}


def ticket(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/ticket/getticket."""
    kept = account.setdefault("ticket", {"value": f"ticket_{secrets.token_urlsafe(64)}", "ends": 0})
    if kept["ends"] < time.time():
        seconds = account.get("expires_in", _TICKET_SECONDS)
        kept |= {"value": f"ticket_{secrets.token_urlsafe(64)}", "ends": time.time() + seconds}
    return {"ticket": kept["value"], "expires_in": max(int(kept["ends"] - time.time()), 1)}


def send_message(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/message/custom/send."""
    # https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Service_Center_messages.html
    message, now = call.body, time.time()
    kind, openid = message.get("msgtype"), str(message.get("touser", ""))
    if kind not in ("text", "image", "voice", "video", "music", "news", "mpnewsarticle", "msgmenu"):
        raise Refusal(40008, "invalid message type")
    if len(str(message.get("text", {}).get("content", "")).encode()) > 2048:
        raise Refusal(45002, "content size out of limit")
    if len(message.get("news", {}).get("articles", ())) > 1:
        raise Refusal(45008, "article size out of limit")
    for name in ("media_id", "thumb_media_id"):
        if files.is_forgotten(account, str((message.get(kind) or {}).get(name, ""))):
            raise Refusal(40007, "invalid media_id")
    windows = account.get("fans", {}).get(openid, {})
    is_open = [window for window in windows.values() if window[0] > now]
    if not is_open:
        raise Refusal(45015, "response out of time limit or subscription is canceled")
    usable = [window for window in is_open if window[1]]
    if not usable:
        raise Refusal(45047, "out of response count limit")
    min(usable)[1] -= 1
    account["unsaid"] = {"kind": "message", "data": message}
    return {}


def qrcode_create(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/qrcode/create."""
    action, scene = call.body.get("action_name"), call.body.get("action_info", {}).get("scene", {})
    is_limited = action in ("QR_LIMIT_SCENE", "QR_LIMIT_STR_SCENE")
    if action in ("QR_SCENE", "QR_LIMIT_SCENE"):
        number = scene.get("scene_id")
        if not isinstance(number, int) or not 1 <= number <= (100_000 if is_limited else 2**32 - 1):
            raise Refusal(40053, "invalid action info")
    elif action not in ("QR_STR_SCENE", "QR_LIMIT_STR_SCENE") or not 1 <= len(str(scene.get("scene_str", ""))) <= 64:
        raise Refusal(40053, "invalid action info")
    answer: Answer = {"ticket": secrets.token_urlsafe(60), "url": f"http://weixin.qq.com/q/{secrets.token_urlsafe(15)}"}
    account["codes_made"] = account.get("codes_made", 0) + is_limited
    if not is_limited:
        answer["expire_seconds"] = min(int(call.body.get("expire_seconds", 60)), _TEMPORARY_MOST_SECONDS)
    account.setdefault("qrcodes", {})[answer["ticket"]] = answer["url"]
    return answer


def show_qrcode(wechat: WeChat, account: dict[str, Any], call: Call) -> Any:
    """GET /cgi-bin/showqrcode on mp.weixin.qq.com: the picture."""
    url = account.get("qrcodes", {}).get(call.query.get("ticket", ""))
    if url is None:
        raise Refusal(40083, "invalid ticket")
    picture = io.BytesIO()
    segno.make(url, micro=False).save(picture, kind="png", scale=10)
    return picture.getvalue(), "image/png", ""


def user_info(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/user/info."""
    openid = call.query.get("openid", "")
    if not openid:
        raise Refusal(40003, "invalid openid")
    tag_id = account.get("profiles", {}).get(openid, {}).get("tag_id", "")
    tags = [int(tag_id)] if tag_id else []
    return {"subscribe": int(openid in account.get("fans", {})), "openid": openid, "tagid_list": tags}


def tag_create(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/tags/create."""
    tags = [*account.get("tags", []), str(call.body.get("tag", {}).get("name", ""))]
    account["tags"] = tags
    return {"tag": {"id": 99 + len(tags), "name": tags[-1]}}


def clear_quota(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/clear_quota."""
    if call.body.get("appid") != wechat.appid:
        raise Refusal(40013, "invalid appid")
    account.pop("used", None)
    return {}


def quota_get(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/openapi/quota/get."""
    path = str(call.body.get("cgi_path"))
    limit, used = account.get("limits", {}).get(path, 100_000), account.get("used", ["", {}])[1].get(path, 0)
    return {"quota": {"daily_limit": limit, "used": used, "remain": max(limit - used, 0)}}


def rid_get(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/openapi/rid/get."""
    found = next((known for known in wechat.calls if known["rid"] == call.body.get("rid")), None)
    if found is None:
        raise Refusal(76001, "rid not found")
    return {
        "request": {"invoke_time": int(found["at"]), "request_url": found["path"], "response_body": found["errmsg"]}
    }


def typing(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/message/custom/typing."""
    if call.body.get("command") not in ("Typing", "CancelTyping"):
        raise Refusal(45072, "command is wrong")
    return {}


def nothing(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """Take what has no effect that a fan here could see."""
    return {}


def _check_account(wechat: WeChat, given: Any) -> None:
    if given.get("appid") != wechat.appid:
        raise Refusal(40013, "invalid appid")
    if not secrets.compare_digest(str(given.get("secret")), wechat.secret):
        raise Refusal(40125, "invalid appsecret")
    if given.get("grant_type") != "client_credential":
        raise Refusal(40002, "invalid grant_type")


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/cgi-bin/stable_token"): stable_token,
    ("GET", "/cgi-bin/token"): plain_token,
    ("GET", "/cgi-bin/ticket/getticket"): ticket,
    ("POST", "/cgi-bin/message/custom/send"): send_message,
    ("POST", "/cgi-bin/menu/create"): menus.create,
    ("GET", "/cgi-bin/menu/get"): menus.get,
    ("GET", "/cgi-bin/menu/delete"): menus.delete,
    ("GET", "/cgi-bin/get_current_selfmenu_info"): menus.current,
    ("POST", "/cgi-bin/menu/addconditional"): menus.add_conditional,
    ("POST", "/cgi-bin/menu/delconditional"): menus.delete_conditional,
    ("POST", "/cgi-bin/qrcode/create"): qrcode_create,
    ("GET", "/cgi-bin/showqrcode"): show_qrcode,
    ("POST", "/cgi-bin/media/upload"): files.upload,
    ("GET", "/cgi-bin/media/get"): files.get,
    ("POST", "/cgi-bin/media/uploadimg"): files.upload_image,
    ("POST", "/cgi-bin/material/add_material"): files.add_material,
    ("POST", "/cgi-bin/material/get_material"): files.get_material,
    ("POST", "/cgi-bin/material/del_material"): files.delete_material,
    ("POST", "/cgi-bin/material/batchget_material"): files.list_materials,
    ("GET", "/cgi-bin/material/get_materialcount"): files.count_materials,
    ("GET", "/cgi-bin/user/info"): user_info,
    ("POST", "/cgi-bin/tags/create"): tag_create,
    ("POST", "/cgi-bin/clear_quota"): clear_quota,
    ("POST", "/cgi-bin/openapi/quota/get"): quota_get,
    ("POST", "/cgi-bin/openapi/rid/get"): rid_get,
    ("GET", "/cgi-bin/getcallbackip"): reads.push_addresses,
    ("GET", "/cgi-bin/get_api_domain_ip"): reads.api_addresses,
    ("GET", "/cgi-bin/customservice/getkflist"): reads.agents,
    ("POST", "/customservice/kfaccount/add"): reads.set_agent,
    ("POST", "/customservice/kfaccount/update"): reads.set_agent,
    ("GET", "/cgi-bin/tags/get"): reads.tags,
    ("GET", "/sns/oauth2/access_token"): oauth_token,
    ("GET", "/sns/userinfo"): oauth_user,
    **{("POST", f"/cgi-bin/draft/{name}"): call for name, call in drafts.DRAFT.items()},
    ("GET", "/cgi-bin/draft/count"): drafts.count,
    **{("POST", f"/cgi-bin/freepublish/{name}"): call for name, call in drafts.PUBLISHED.items()},
    ("POST", "/cgi-bin/message/custom/typing"): typing,
    ("POST", "/cgi-bin/message/mass/sendall"): notices.send_to_all,
    ("POST", "/cgi-bin/message/mass/send"): notices.send_to_users,
    ("POST", "/cgi-bin/message/mass/preview"): notices.preview,
    ("POST", "/cgi-bin/message/mass/delete"): notices.delete_mass,
    ("POST", "/cgi-bin/message/mass/get"): notices.mass_status,
    ("POST", "/cgi-bin/message/template/send"): notices.send_template,
    ("POST", "/cgi-bin/template/api_add_template"): notices.add_template,
    ("GET", "/cgi-bin/template/get_all_private_template"): notices.templates,
    ("POST", "/cgi-bin/template/del_private_template"): notices.delete_template,
    ("POST", "/cgi-bin/message/subscribe/bizsend"): nothing,
}
WITHOUT_TOKEN = {
    "/cgi-bin/stable_token",
    "/cgi-bin/token",
    "/cgi-bin/showqrcode",
    "/sns/oauth2/access_token",
    "/sns/userinfo",
}
