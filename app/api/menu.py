"""The account's menu: pulled from WeChat, and pushed to it as a revision that the database keeps."""

import difflib
import json
import logging
import time
from typing import Any

from app import place
from app.api.client import Client
from app.api.menu_form import normalised
from app.api.menu_rules import check
from app.errors import ApiError, BadMenu
from app.store.menus import (
    PUSH_SECONDS,
    begin_push,
    clear_current,
    current_revision,
    end_push,
    find_revision,
    unfinished_push,
)
from app.store.models import MenuRevision

_NO_MENU = 46003
logger = logging.getLogger("wechat.api")


def pull(client: Client) -> dict[str, Any] | None:
    """Return the menu that WeChat has: {"button": [...]} and, where there are some, "conditionalmenu"; None for none.

    A menu that was made on the account's page is not seen by this call of WeChat. Raises ApiError.
    """
    try:
        found = client.get("menu/get")
    except ApiError as error:
        if error.errcode != _NO_MENU:
            raise
        return None
    # In the order in which they were made: the newest that matches is the one that a fan sees.
    conditional = sorted(found.get("conditionalmenu", []), key=lambda menu: int(menu.get("menuid", 0)))
    return normalised({**found, "conditionalmenu": conditional})


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
    is_same = current is not None and json.loads(current.content) == wanted  # in whatever order its fields are
    if current and is_same and not force and unfinished_push(appid) is None:
        return current, False
    revision = _begun(appid, content, author, note)
    is_pushed: bool | None = False
    try:
        before = pull(client)
        is_pushed = None
        try:
            _replace(client, before, wanted)
            is_pushed = True
        except ApiError as error:
            if error.errcode is not None and _put_back(client, before, error):
                is_pushed = False
            raise
    finally:
        end_push(revision, pushed=is_pushed)
        if is_pushed is None:
            diff = place.command("wechat menu diff")
            logger.warning("WeChat may have taken a part: %s shows it, and the next push is made anew", diff)
    return revision, True


def rollback(client: Client, appid: str, number: int, author: str) -> tuple[MenuRevision, bool]:
    """Push what revision ``number`` holds, as a new revision. Raises BadMenu where there is none; see ``push``."""
    revision = find_revision(appid, number)
    if revision is None:
        raise BadMenu(f"there is no revision {number}; {place.command('wechat menu history')} lists them")
    return push(client, appid, json.loads(revision.content), author, f"rollback to {number}")


def delete(client: Client, appid: str, author: str) -> None:
    """Delete the menu, with all conditional ones; its revisions are kept. Raises BadMenu, ApiError, StoreError."""
    revision = _begun(appid, "{}", author, "delete")
    is_known = False
    try:
        client.menu.delete()
        clear_current(appid)
        is_known = True
    except ApiError as error:
        is_known = error.errcode is not None
        raise
    finally:
        end_push(revision, pushed=False if is_known else None)


def _begun(appid: str, content: str, author: str, note: str) -> MenuRevision:
    """Begin a push, one at a time. Raises BadMenu while somebody else's goes on."""
    if revision := begin_push(appid, content, author, note):
        return revision
    other = unfinished_push(appid)
    who = (
        f"{other.author} has been pushing a menu since {_clock(other.created_at)}" if other else "somebody else pushes"
    )
    until = f", or at {_clock(other.created_at + PUSH_SECONDS)} if that push has died" if other else ""
    raise BadMenu(f"{who}; try again in a moment{until}")


def _clock(seconds: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds + 1))


def as_text(menu: Any, *, sort_keys: bool = False) -> str:
    """Return the menu as JSON to be read; with ``sort_keys``, to be compared, too."""
    return json.dumps(menu, ensure_ascii=False, indent=2, sort_keys=sort_keys)


def in_wechats_format(menu: dict[str, Any]) -> dict[str, Any]:
    """Return the menu as menu/create takes it, or, where there are conditional ones, as menu/get answers."""
    if "conditionalmenu" not in menu:
        return menu
    return {"menu": {"button": menu["button"]}, "conditionalmenu": menu["conditionalmenu"]}


def differences(there: Any, wanted: Any) -> list[str]:
    """Return the lines of a unified diff from the menu that WeChat has to the wanted one; [] for the same."""
    before, after = (as_text(menu or {}, sort_keys=True).splitlines() for menu in (there, wanted))
    return list(difflib.unified_diff(before, after, "WeChat", "wanted", lineterm=""))


def _replace(client: Client, before: dict[str, Any] | None, wanted: dict[str, Any]) -> None:
    # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Personalized_menu_interface.html
    client.menu.create({"button": wanted["button"]})
    _set_conditional(client, before, wanted.get("conditionalmenu", []))


def _set_conditional(client: Client, there: dict[str, Any] | None, wanted: list[Any]) -> None:
    if wanted == (there or {}).get("conditionalmenu", []):
        return
    if there and "conditionalmenu" in there:
        for menu in client.get("menu/get").get("conditionalmenu", []):
            client.menu.del_conditional(menu["menuid"])
    for menu in wanted:
        client.menu.add_conditional(menu)


def _put_back(client: Client, before: dict[str, Any] | None, error: ApiError) -> bool:
    """Put the menu back that was there, and return whether it is; what WeChat refused at once has changed nothing."""
    try:
        there = pull(client)
        if there == before:
            return True
        if before is None:
            client.menu.delete()
        else:  # never without a menu in between
            client.menu.create({"button": before["button"]})
            _set_conditional(client, there, before.get("conditionalmenu", []))
    except ApiError:
        logger.exception("the menu from before could not be put back after: %s; it was: %s", error, before)
        return False
    return True
