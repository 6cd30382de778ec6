"""What the menu's page calls things, and what it says is wrong, at which input."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from app.api.menu_form import normalised
from app.api.menu_rules import find_problems, find_warnings
from app.api.menu_wrong import Wrong
from app.console.menu_draft import Draft, Place, inputs_of, name_of, places, wanted
from app.pages import say

_TYPES = {
    "click": ("点击推事件", "tells a handler"),
    "view": ("打开网页", "opens a web page"),
    "miniprogram": ("打开小程序", "opens a mini program"),
    "scancode_push": ("扫码推事件", "scans a code"),
    "scancode_waitmsg": ("扫码并提示“消息接收中”", "scans a code and waits for the answer"),
    "location_select": ("发送位置", "sends a location"),
    "pic_sysphoto": ("拍照发图", "takes a photo"),
    "pic_photo_or_album": ("拍照或从相册发图", "takes a photo, or one from the album"),
    "pic_weixin": ("从微信相册发图", "sends pictures of WeChat's album"),
    "media_id": ("下发素材消息", "sends the fan a material"),
    "view_limited": ("打开图文素材", "opens an article of the materials"),
    "article_id": ("下发已发布的图文", "sends the fan a published article"),
    "article_view_limited": ("打开已发布的图文", "opens a published article"),
}
_FIELDS = {
    "name": ("名称", "Name"),
    "type": ("类型", "Type"),
    "key": ("key（处理函数按它区分点击）", "key, which a handler's row names"),
    "url": ("网址", "URL"),
    "appid": ("小程序的 appid", "appid of the mini program"),
    "pagepath": ("小程序的 pagepath（页面路径）", "pagepath, the page in it"),
    "media_id": ("素材的 media_id", "media_id of the material"),
    "article_id": ("图文的 article_id", "article_id of the article"),
    "tag_id": ("用户标签编号", "Number of the fans' tag"),
    "client_platform_type": ("手机系统", "Phone"),
}
PLATFORMS = {"": ("不限", "any"), "1": ("iOS", "iOS"), "2": ("Android", "Android"), "3": ("其他", "others")}
_WRONG = {
    "empty": "请填写",
    "long": "太长：最多 {most} 字节，一个汉字占 3 字节",
    "url": "网址要以 http:// 或 https:// 开头",
    "type": "请选择类型，或添加子按钮",
    "count": "要有 1 到 {most} 个按钮",
    "nested": "子按钮下面不能再有按钮",
    "number": "格式不对，应是一个数字",
    "nobody": "请填写标签编号，或选择手机系统",
    "refused": "微信不再支持按 {field} 匹配（65320）",
    "unknown": "这里不能有字段 {field}",
    "hosts": "个性化菜单中的网址最多来自 {most} 个域名",
    "default": "有个性化菜单时，必须有默认菜单",
    "click": "HANDLERS 里没有匹配这个点击的行",
}


class Note(NamedTuple):
    """What is said ``at`` the input, or the group of inputs, with this id; ``kind`` is wrong or warning."""

    at: str
    kind: str
    where: str
    text: str


def notes(draft: Draft, takes_click: Callable[[str], bool]) -> Iterator[Note]:
    """Yield what is wrong in the menu that ``draft`` means, and which clicks nobody takes."""
    menu, nodes = normalised(wanted(draft)), dict(places(draft))
    for kind, found in (("wrong", find_problems(menu)), ("warning", find_warnings(menu, takes_click))):
        for problem in found:
            field = problem.wrong.field
            has_input = field in inputs_of(problem.place, nodes.get(problem.place))
            at = name_of(problem.place, field if has_input else "")
            where = " › ".join([_place(problem.place), *([field_label(field)] if has_input else [])])
            yield Note(at, kind, say(where, problem.where), _text(problem.wrong))


def type_label(button_type: str) -> str:
    """Return what a type of button does, with WeChat's word for it."""
    words = _TYPES.get(button_type)
    return say(f"{words[0]} · {button_type}", f"{button_type}: {words[1]}") if words else button_type or "—"


def field_label(field: str) -> str:
    """Return what a field is called."""
    return say(*_FIELDS[field])


def bar_label(number: int, bar: Any = None) -> str:
    """Return what a menu is called: 0 is the default one; with ``bar``, also who sees it."""
    if not number:
        return say("默认菜单", "Default menu")
    label = say(f"个性化菜单 {number}", f"Conditional menu {number}")
    rule = bar.get("matchrule") if isinstance(bar, dict) else None
    rule = rule if isinstance(rule, dict) else {}
    tag, platform = rule.get("tag_id"), str(rule.get("client_platform_type", ""))
    who = [say(f"标签 {tag}", f"tag {tag}")] if tag else []
    who += [say(*PLATFORMS[platform])] if platform and platform in PLATFORMS else []
    return say(f"{label}（{'，'.join(who)}）", f"{label} ({', '.join(who)})") if who else label


def _place(place: Place) -> str:
    if not place:
        return "个性化菜单"
    bar, *numbers = place
    words = [f"{what} {number}" for what, number in zip(("按钮", "子按钮"), numbers, strict=False)]
    return " › ".join([f"个性化菜单 {bar}" if bar else "默认菜单", *words])


def _text(wrong: Wrong) -> str:
    chinese = _WRONG.get(wrong.kind)
    return say(chinese.format(**wrong._asdict()), wrong.text) if chinese else wrong.text
