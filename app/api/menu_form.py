"""The forms that a menu comes in, and the one in which menus are equal that WeChat takes for the same."""

from typing import Any

_STATUS = ("errcode", "errmsg")


def normalised(menu: Any) -> dict[str, Any]:
    """Return ``menu`` in the one form in which menus are equal that WeChat takes for the same.

    The form is {"button": [...], "conditionalmenu": [...]}, the latter only when there are some; ``menu`` stays as it
    is. It takes what ``check`` takes and what WeChat answers, and leaves what it does not know.
    """
    # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Personalized_menu_interface.html
    default = _normal_bar(default_of(menu))
    form = {"button": default.get("button", []) if isinstance(default, dict) else []}
    if conditional := listed(menu, "conditionalmenu"):
        form["conditionalmenu"] = [_normal_bar(one) for one in conditional]
    return form


def as_pushed(menu: Any) -> Any:
    """Return ``menu``, an answer of menu/get without its status and with its rules as they are pushed."""
    if not isinstance(menu, dict):
        return menu
    given = {name: value for name, value in menu.items() if name not in _STATUS} if _is_ok(menu) else dict(menu)
    if isinstance(conditional := given.get("conditionalmenu"), list):
        given["conditionalmenu"] = [_as_pushed_bar(one) for one in conditional]
    return given


def _is_ok(menu: dict[str, Any]) -> bool:
    return menu.get("errcode") in (None, 0)


def _as_pushed_bar(bar: Any) -> Any:
    is_answer = isinstance(bar, dict) and "menuid" in bar and isinstance(bar.get("matchrule"), dict)
    return {**bar, "matchrule": _normal_matchrule(bar["matchrule"])} if is_answer else bar


def default_of(menu: Any) -> Any:
    """Return the default menu of what may hold conditional ones, too."""
    return menu.get("menu", menu) if isinstance(menu, dict) else menu


def listed(fields: Any, name: str) -> list[Any]:
    """Return the list at ``name``, [] where there is none."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, list) else []


def _normal_bar(bar: Any) -> Any:
    if not isinstance(bar, dict):
        return bar
    normal = {name: value for name, value in bar.items() if name != "menuid"}
    if isinstance(bar.get("button"), list):
        normal["button"] = [_normal_button(button) for button in bar["button"]]
    if isinstance(bar.get("matchrule"), dict):
        normal["matchrule"] = _normal_matchrule(bar["matchrule"])
    return normal


def _normal_button(button: Any, is_sub: bool = False) -> Any:
    sub_buttons = button.get("sub_button") if isinstance(button, dict) else None
    if isinstance(sub_buttons, dict) and sub_buttons.keys() == {"list"}:
        sub_buttons = sub_buttons["list"]
    if not isinstance(sub_buttons, list):
        return button
    normal = {name: value for name, value in button.items() if name != "sub_button"}
    if sub_buttons:
        normal["sub_button"] = sub_buttons if is_sub else [_normal_button(one, is_sub=True) for one in sub_buttons]
    return normal


def _normal_matchrule(rule: dict[str, Any]) -> dict[str, Any]:
    normal = {name: str(value) if type(value) in (int, float) else value for name, value in rule.items() if value != ""}
    if "group_id" in normal and "tag_id" not in normal:  # menu/get still writes the old name
        normal["tag_id"] = normal.pop("group_id")
    return normal
