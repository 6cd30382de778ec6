"""The account's menu: pulled from WeChat, and pushed to it as a revision that the database keeps."""

import difflib
import json
import logging
from typing import Any

from app.api.client import Client
from app.api.menu_rules import check, normalised
from app.errors import ApiError, BadMenu
from app.store.menus import begin_push, clear_current, current_revision, end_push, find_revision
from app.store.models import MenuRevision

_NO_MENU = 46003
logger = logging.getLogger("wechat.api")


def pull(client: Client) -> dict[str, Any] | None:
    """Return the menu that WeChat has: {"button": [...]} and, where there are some, "conditionalmenu"; None for none.

    A menu that was made on the account's page is not seen by this call of WeChat. Raises ApiError.
    """
    try:
        return normalised(client.get("menu/get"))
    except ApiError as error:
        if error.errcode != _NO_MENU:
            raise
    return None


def push(
    client: Client, appid: str, menu: Any, author: str, note: str = "", *, force: bool = False
) -> tuple[MenuRevision, bool]:
    """Give WeChat ``menu``; return the revision that is current now, and whether anything was called.

    What the current revision holds already is not pushed again, unless with ``force``, for a menu that was changed
    elsewhere. A push that WeChat refuses leaves everything as it was.
    Raises BadMenu, before any call, for what WeChat would refuse, and while somebody else pushes; ApiError; StoreError.
    """
    if problems := check(menu).problems:
        raise BadMenu("\n  - ".join(["WeChat would refuse the menu:", *problems]))
    wanted = normalised(menu)
    content = as_text(wanted)
    current = current_revision(appid)
    if current and current.content == content and not force:
        return current, False
    revision = begin_push(appid, content, author, note)
    if revision is None:
        raise BadMenu("somebody else is pushing a menu just now; try again in a moment")
    is_pushed = False
    try:
        _replace(client, wanted)
        is_pushed = True
    finally:
        end_push(revision, pushed=is_pushed)
    return revision, True


def rollback(client: Client, appid: str, number: int, author: str) -> tuple[MenuRevision, bool]:
    """Push what revision ``number`` holds, as a new revision. Raises BadMenu where there is none; see ``push``."""
    revision = find_revision(appid, number)
    if revision is None:
        raise BadMenu(f"there is no revision {number}; flask wechat menu history lists them")
    return push(client, appid, json.loads(revision.content), author, f"rollback to {number}")


def delete(client: Client, appid: str) -> None:
    """Delete the menu, with all conditional ones; its revisions are kept. Raises ApiError, StoreError."""
    client.menu.delete()
    clear_current(appid)


def as_text(menu: Any) -> str:
    """Return the menu as JSON to be read and compared."""
    return json.dumps(menu, ensure_ascii=False, indent=2)


def in_wechats_format(menu: dict[str, Any]) -> dict[str, Any]:
    """Return the menu as menu/create takes it, or, where there are conditional ones, as menu/get answers."""
    if "conditionalmenu" not in menu:
        return menu
    return {"menu": {"button": menu["button"]}, "conditionalmenu": menu["conditionalmenu"]}


def differences(there: Any, wanted: Any) -> list[str]:
    """Return the lines of a unified diff from the menu that WeChat has to the wanted one; [] for the same.

    The order in which WeChat lists conditional menus says nothing.
    """
    before, after = (as_text(_in_order(menu) if menu else {}).splitlines() for menu in (there, wanted))
    return list(difflib.unified_diff(before, after, "WeChat", "wanted", lineterm=""))


def _replace(client: Client, wanted: dict[str, Any]) -> None:
    # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Personalized_menu_interface.html
    before = pull(client)
    client.menu.create({"button": wanted["button"]})
    conditional = wanted.get("conditionalmenu", [])
    if before and conditional == before.get("conditionalmenu", []):
        return
    try:
        if before and before.get("conditionalmenu"):
            for menu in client.get("menu/get")["conditionalmenu"]:
                client.menu.del_conditional(menu["menuid"])
        for menu in conditional:
            client.menu.add_conditional(menu)
    except ApiError as error:
        _put_back(client, before, error)
        raise


def _put_back(client: Client, before: dict[str, Any] | None, error: ApiError) -> None:
    try:
        client.menu.delete()
        if before:
            client.menu.create({"button": before["button"]})
        for menu in (before or {}).get("conditionalmenu", []):
            client.menu.add_conditional(menu)
    except ApiError:
        logger.exception("the menu from before could not be put back after: %s; it was: %s", error, before)


def _in_order(menu: dict[str, Any]) -> dict[str, Any]:
    conditional = sorted(menu.get("conditionalmenu", []), key=as_text)
    return {**menu, "conditionalmenu": conditional} if conditional else menu
