"""The calls that send without being asked: mass messages and template messages."""

import re
import secrets
from typing import Any

from app.sandbox.wechat import Answer, Call, Refusal, WeChat

_OPENID = re.compile(r"[\w-]{5,64}")
# The msgtype, and the field that holds its content.
# https://developers.weixin.qq.com/doc/service/api/notify/message/api_sendall
_MASS = {
    "text": ("text", "content"),
    "image": ("images", "media_ids"),
    "voice": ("voice", "media_id"),
    "mpvideo": ("mpvideo", "media_id"),
    "mpnews": ("mpnews", "media_id"),
    "wxcard": ("wxcard", "card_id"),
}
_MOST_USERS, _MOST_CLIENT_MSG_ID, _MOST_TEMPLATES = 10_000, 64, 25


def send_to_all(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/message/mass/sendall: to everybody, or to those with a tag."""
    whom = call.body.get("filter")
    if not isinstance(whom, dict) or not set(whom) <= {"is_to_all", "tag_id"}:
        raise Refusal(40097, "invalid args: filter")
    if not whom.get("is_to_all") and not isinstance(whom.get("tag_id"), int):
        raise Refusal(45159, "invalid tag_id")
    return _sent(account, call)


def send_to_users(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/message/mass/send: to 2 to 10,000 fans."""
    users = call.body.get("touser")
    if not isinstance(users, list) or not 2 <= len(users) <= _MOST_USERS:
        raise Refusal(40130, "invalid openid list size, at least two openid")
    if not all(_OPENID.fullmatch(str(user)) for user in users):
        raise Refusal(40003, "invalid openid")
    return _sent(account, call)


def preview(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/message/mass/preview: to one fan, by openid or by the name of their WeChat."""
    if not call.body.get("touser") and not call.body.get("towxname"):
        raise Refusal(40132, "invalid username")
    kind = str(call.body.get("msgtype"))
    _check(call, kind, *(("image", "media_id") if kind == "image" else _MASS.get(kind, ("", ""))))
    return {}


def delete_mass(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/message/mass/delete."""
    _mass(account, call)
    del account["mass"][str(call.body["msg_id"])]
    return {}


def mass_status(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/message/mass/get."""
    _mass(account, call)
    return {"msg_id": call.body["msg_id"], "msg_status": "SEND_SUCCESS"}


def add_template(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/template/api_add_template: today with the keywords that are wanted."""
    # https://developers.weixin.qq.com/doc/service/api/notify/template/api_addtemplate
    keywords = call.body.get("keyword_name_list")
    if not call.body.get("template_id_short"):
        raise Refusal(40037, "invalid template_id")
    if not isinstance(keywords, list) or not keywords or not all(isinstance(one, str) and one for one in keywords):
        raise Refusal(40246, "keyword name invalid")
    if len(account.get("templates", {})) >= _MOST_TEMPLATES:
        raise Refusal(45026, "template num exceeds limit")
    template_id = secrets.token_urlsafe(32)
    content = "\n".join(f"{name}:{{{{thing{number}.DATA}}}}" for number, name in enumerate(keywords, 1))
    kept = {"title": str(call.body["template_id_short"]), "content": content, "example": ""}
    account.setdefault("templates", {})[template_id] = kept
    return {"template_id": template_id}


def templates(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/template/get_all_private_template."""
    known = account.get("templates", {}).items()
    return {"template_list": [{"template_id": template_id, **kept} for template_id, kept in known]}


def delete_template(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/template/del_private_template."""
    if account.get("templates", {}).pop(str(call.body.get("template_id")), None) is None:
        raise Refusal(40037, "invalid template_id")
    return {}


def send_template(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/message/template/send; the same client_msg_id is sent once."""
    # https://developers.weixin.qq.com/doc/service/api/notify/template/api_sendtemplatemessage
    if not _OPENID.fullmatch(str(call.body.get("touser", ""))):
        raise Refusal(40003, "invalid openid")
    if call.body.get("template_id") not in account.get("templates", {}):
        raise Refusal(40037, "invalid template_id")
    data = call.body.get("data")
    if not isinstance(data, dict) or not all(isinstance(one, dict) and "value" in one for one in data.values()):
        raise Refusal(47001, "data format error")
    return {"msgid": _once(account, "template_ids", call.body.get("client_msg_id"))}


def _sent(account: dict[str, Any], call: Call) -> Answer:
    kind = str(call.body.get("msgtype"))
    _check(call, kind, *_MASS.get(kind, ("", "")))
    client_msg_id = call.body.get("clientmsgid")
    if len(str(client_msg_id or "")) > _MOST_CLIENT_MSG_ID:
        raise Refusal(45067, "clientmsgid size out of limit")
    if client_msg_id and client_msg_id in account.get("mass_ids", {}):
        raise Refusal(45065, "clientmsgid exist")
    msg_id = _once(account, "mass_ids", client_msg_id)
    account.setdefault("mass", {})[str(msg_id)] = call.body
    return {"msg_id": msg_id, "msg_data_id": msg_id + 1}


def _check(call: Call, kind: str, field: str, name: str) -> None:
    if not field:
        raise Refusal(40008, "invalid message type")
    content = call.body.get(field)
    if not isinstance(content, dict) or not content.get(name):
        raise Refusal(44004 if kind == "text" else 40007, "empty content" if kind == "text" else "invalid media_id")


def _once(account: dict[str, Any], kind: str, client_msg_id: Any) -> int:
    msg_id: int = 3_147_000_000 + account.get("msg_ids", 0)
    account["msg_ids"] = account.get("msg_ids", 0) + 2
    if not client_msg_id:
        return msg_id
    known: int = account.setdefault(kind, {}).setdefault(str(client_msg_id), msg_id)
    return known


def _mass(account: dict[str, Any], call: Call) -> None:
    if str(call.body.get("msg_id")) not in account.get("mass", {}):
        raise Refusal(40059, "invalid msg id")
