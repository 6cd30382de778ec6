"""The calls about the menu."""

from typing import Any

from app.sandbox.wechat import Answer, Call, Refusal, WeChat

_BUTTON_TYPES = {
    "click",
    "view",
    "miniprogram",
    "scancode_push",
    "scancode_waitmsg",
    "pic_sysphoto",
    "pic_photo_or_album",
    "pic_weixin",
    "location_select",
    "media_id",
    "view_limited",
    "article_id",
    "article_view_limited",
}
_MATCHED_BY = {"tag_id", "client_platform_type"}


def create(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/menu/create."""
    _check_buttons(call)
    account["menu"] = {"button": call.body["button"]}
    return {}


def get(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/menu/get: every button with its list of sub-buttons, as WeChat has it."""
    if not account.get("menu"):
        raise Refusal(46003, "menu no exist")
    conditional = [{**menu, "button": _with_lists(menu["button"])} for menu in account.get("conditional", [])]
    answer = {"menu": {"button": _with_lists(account["menu"]["button"])}}
    return answer | ({"conditionalmenu": conditional} if conditional else {})


def current(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/get_current_selfmenu_info: as fans see it, however it was made; sub-buttons are in a list."""
    buttons = (account.get("menu") or {"button": []})["button"]
    seen = [
        {**button, "sub_button": {"list": button["sub_button"]}} if button.get("sub_button") else button
        for button in buttons
    ]
    return {"is_menu_open": int(bool(buttons)), "selfmenu_info": {"button": seen}}


def delete(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/menu/delete: the default menu and all others."""
    account.update(menu=None, conditional=[])
    return {}


def add_conditional(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/menu/addconditional."""
    _check_buttons(call)
    rule = call.body.get("matchrule") or {}
    if not account.get("menu"):
        raise Refusal(65303, "there is no selfmenu, please create selfmenu first")
    if not rule or not set(rule) <= _MATCHED_BY:
        raise Refusal(65320, "no permission to use these matchrule fields")
    account["menuids"] = menuid = account.get("menuids", 1000) + 1
    menu = {"button": call.body["button"], "matchrule": rule, "menuid": menuid}
    account["conditional"] = [*account.get("conditional", []), menu]
    return {"menuid": str(menuid)}


def delete_conditional(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /cgi-bin/menu/delconditional."""
    menuid = call.body.get("menuid")
    left = [menu for menu in account.get("conditional", []) if str(menu["menuid"]) != menuid]
    if len(left) == len(account.get("conditional", [])):
        raise Refusal(65301, "not exist menuid")
    account["conditional"] = left
    return {}


def _check_buttons(call: Call) -> None:
    if b"\\u" in call.raw:
        raise Refusal(40033, "invalid charset. please check your request, if include \\uxxxx will create fail!")
    buttons = call.body.get("button")
    if not isinstance(buttons, list) or not 1 <= len(buttons) <= 3:
        raise Refusal(40016, "invalid button size")
    for button in buttons:
        below = button.get("sub_button") or []
        if len(below) > 5:
            raise Refusal(40023, "invalid sub button size")
        for leaf, most in [(button, 16), *((leaf, 60) for leaf in below)]:
            if not 1 <= len(str(leaf.get("name", "")).encode()) <= most:
                raise Refusal(40018, "invalid button name size")
        if not all(leaf.get("type") in _BUTTON_TYPES for leaf in below or [button]):
            raise Refusal(40017, "invalid button type")


def _with_lists(buttons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**button, "sub_button": _with_lists(button.get("sub_button", []))} for button in buttons]
