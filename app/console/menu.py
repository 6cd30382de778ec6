"""The account's menu: an editor, what WeChat has, and the revisions. The draft is in the form, and nowhere else."""

import json
import re
from contextlib import suppress
from typing import Any

from flask import Blueprint, Response, g, redirect, request, url_for

from app.api import get_api, menu
from app.api.menu_form import normalised
from app.api.menu_rules import check
from app.console.access import audit
from app.console.menu_draft import read, wanted
from app.console.menu_operations import operate
from app.console.menu_page import shown
from app.errors import ApiError, BadMenu, ConfigError, StoreError
from app.pages import say
from app.store.menus import current_revision, find_revision, revisions, unfinished_push
from app.store.models import MenuRevision
from app.table.dispatch import Table


def add_menu(site: Blueprint, table: Table) -> None:
    """Put the page on ``site``; ``table`` tells which clicks are answered."""
    site.get("/menu", endpoint="menu")(lambda: _page(table))
    site.post("/menu/draft", endpoint="menu_draft")(lambda: _draft(table))
    site.post("/menu/push", endpoint="menu_push")(lambda: _push(table))
    site.post("/menu/rollback", endpoint="menu_rollback")(lambda: _rollback(table))


def _page(table: Table) -> Response:
    """GET /console/menu: the current revision, or ?revision=NUMBER, in the editor; ?pushed= and ?same= say a number."""
    told: dict[str, Any] = {name: request.args[name] for name in ("pushed", "same") if name in request.args}
    if "revision" not in request.args:
        return _saved(table, **told)
    try:
        return _saved(table, opened=_revision(request.args["revision"]))
    except BadMenu as error:
        return _saved(table, 404, failed=str(error))


def _saved(table: Table, status: int = 200, opened: MenuRevision | None = None, **said: Any) -> Response:
    history = revisions(get_api().settings.account)
    current = next((revision for revision in history if revision.current), None)
    opened = opened or current
    draft = json.loads(opened.content) if opened else {"button": []}
    form = {"base": str(current.number if current else 0)}
    if said.get("pushed", form["base"]) != form["base"]:
        del said["pushed"]  # an address that was kept
    return shown(table, draft, form, status, history=history, opened=opened, **said)


def _draft(table: Table) -> Response:
    """POST /console/menu/draft: do, and the editor's form; answers the editor as it is after that."""
    form, do = request.form.to_dict(), request.form.get("do", "")
    draft, focus = operate(form, do)
    if do == "check":
        return shown(table, draft, form, page="menu_checked.html")
    if do in ("compare", "load"):
        return _with_live(table, form, do)
    return shown(table, draft, form | ({"changed": "1"} if focus else {}), focus=focus)


def _with_live(table: Table, form: dict[str, str], do: str) -> Response:
    draft = read(form)
    try:
        live = menu.pull(get_api().client)
    except (ApiError, ConfigError) as error:
        return shown(table, draft, form, failed=str(error))  # 200: htmx would not show another
    if live is None:
        return shown(table, draft, form, has_none=True)
    if do == "load":
        return shown(table, live, form | {"changed": "1"}, loaded=True)
    return shown(table, draft, form, compared=menu.differences(live, normalised(wanted(draft))))


def _push(table: Table) -> Any:
    """POST /console/menu/push: note, base (the current revision when the editor was opened), and the editor's form."""
    form, api = request.form.to_dict(), get_api()
    draft = read(form)
    meant = normalised(wanted(draft))
    if check(meant).problems:
        return shown(table, draft, form | {"refused": "1"}, _status(422))
    try:
        _check_base(form, api.settings.account)
        by, note, force = g.operator.name, form.get("note", ""), "force" in form
        revision, called = menu.push(api.client, api.settings.account, meant, by, note, force=force)
    except (ApiError, BadMenu, ConfigError, StoreError) as error:
        return shown(table, draft, form, _status(409), failed=str(error), is_unknown=_failed("push a menu", error))
    if not called:
        return shown(table, draft, form, same=revision.number)
    return _pushed("push a menu", revision)


def _check_base(form: dict[str, str], account: str) -> None:
    """Raise BadMenu, once, where somebody else has changed the menu since the editor was opened."""
    current = current_revision(account)
    number = str(current.number if current else 0)
    if form.get("base") != number:
        form["base"] = number
        by = f"{current.author}: {say('版本', 'revision')} {number}" if current else say("已删除", "it was deleted")
        text = say("打开编辑器之后，菜单已被别人改过", "somebody has changed the menu since this editor was opened")
        raise BadMenu(f"{text} ({by}){say('。再发布一次会覆盖它', '. Once more replaces it')}")


def _rollback(table: Table) -> Any:
    """POST /console/menu/rollback: number."""
    api = get_api()
    try:
        _check_base(request.form.to_dict(), api.settings.account)
        number = _revision(request.form.get("number", "")).number
        revision, called = menu.rollback(api.client, api.settings.account, number, g.operator.name)
    except (ApiError, BadMenu, ConfigError) as error:
        return _saved(table, 409, failed=str(error), is_unknown=_failed("roll the menu back", error))
    if not called:
        return redirect(url_for(".menu", same=revision.number), 303)
    return _pushed("roll the menu back", revision, to=number)


def _pushed(action: str, revision: MenuRevision, **details: int) -> Any:
    audit(action, revision=revision.number, **details)
    done = url_for(".menu", pushed=revision.number)
    return Response(headers={"HX-Redirect": done}) if _is_htmx() else redirect(done, 303)


def _is_htmx() -> bool:
    return "HX-Request" in request.headers


def _status(status: int) -> int:
    return 200 if _is_htmx() else status  # htmx would not show another


def _failed(action: str, error: Exception) -> bool:
    """Write the audit line of a change that WeChat did not take, and tell whether it may have taken a part."""
    if not isinstance(error, ApiError):
        return False
    audit(f"{action}: failed", errcode=error.errcode)
    with suppress(StoreError):
        return unfinished_push(get_api().settings.account) is not None
    return True


def _revision(asked: str) -> MenuRevision:
    is_number = re.fullmatch("[0-9]{1,9}", asked)
    found = find_revision(get_api().settings.account, int(asked)) if is_number else None
    if found is None:
        raise BadMenu(say(f"没有版本 {asked[:20]}", f"there is no revision {asked[:20]}"))
    return found
