"""Messages: send one to a fan, and see how many may be sent."""

import secrets
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for

from app.api import get_api, send
from app.api.messages import CLOSED, NOT_ALLOWED, PATH, USED_UP, parts
from app.cache import to_json
from app.console.access import audit
from app.errors import ApiError, BadReply, ConfigError
from app.pages import say
from log import masked

MOST_OPENID_CHARACTERS = 64
_MOST_CHARACTERS = 8 * 2048  # no more than 5 and 3 messages can follow what a fan did
_ONCE_SECONDS = 12 * 3600  # as long as the form can be used
_REFUSALS = {
    CLOSED: (
        "用户 48 小时内没有发过消息，或已取消关注，现在不能发（45015）。",
        "The fan has not written within the last 48 hours, or has left: nothing can be sent now (45015).",
    ),
    USED_UP: (
        "余量不够发这段文字，用户再次发消息后可以继续（45047）。",
        "Fewer messages are left than this text takes. More may be sent once the fan has written again (45047).",
    ),
    NOT_ALLOWED: (
        "公众号没有客服消息权限（48001）。",
        "The account may not send customer-service messages (48001).",
    ),
}


def add_messages(site: Blueprint) -> None:
    """Put the page on ``site``."""

    @site.get("/messages")
    def messages() -> str:
        return _page(request.args.get("openid", ""), sent=request.args.get("sent", 0, type=int))

    @site.post("/messages/budget")
    def messages_budget() -> str:
        openid, text = _given()
        return render_template("console/messages_budget.html", **budget_of(openid), size=len(parts(text)))

    @site.post("/messages", endpoint="send_message")
    def send_message() -> Any:
        openid, text = _given()
        if wrong := _wrong_with(openid, text) or _repeated():
            return _page(openid, text, wrong)
        try:
            sent = send(openid, text)
        except (ApiError, BadReply, ConfigError) as error:
            return _failed(openid, text, error)
        audit("send a message", openid=masked(openid), messages=sent)
        return redirect(url_for(".messages", openid=openid, sent=sent), 303)


def budget_of(openid: str) -> dict[str, Any]:
    """Return what ``messages_budget.html`` shows: what may be sent to the fan now, as far as is known here."""
    api = get_api()
    known = bool(openid) and api.settings.has_api
    return {
        "openid": openid,
        "has_api": api.settings.has_api,
        "windows": api.budget.windows(openid) if known else [],
        "closed": CLOSED,
    }


def _page(openid: str, text: str = "", wrong: str = "", sent: int = 0) -> str:
    openid = openid.strip()
    shown = {"text": text, "wrong": wrong, "sent": sent, "size": len(parts(text)), "once": secrets.token_hex(16)}
    limits = {"most_openid": MOST_OPENID_CHARACTERS, "most": _MOST_CHARACTERS}
    return render_template("console/messages.html", here=".messages", **budget_of(openid), **shown, **limits)


def _given() -> tuple[str, str]:
    """Return the openid and the text of the form; a browser ends lines as no phone does."""
    text = request.form.get("text", "").replace("\r\n", "\n").replace("\x00", "")
    return request.form.get("openid", "").strip(), text


def _wrong_with(openid: str, text: str) -> str:
    if not (openid.isprintable() and 0 < len(openid) <= MOST_OPENID_CHARACTERS and " " not in openid):
        return say("openid 应为 1 到 64 个可见字符。", "An openid is 1 to 64 visible characters.")
    if not text.strip():
        return say("请填写要发送的内容。", "There is no text to be sent.")
    if len(text) > _MOST_CHARACTERS:
        return say(f"内容最多 {_MOST_CHARACTERS} 个字。", f"The text is longer than {_MOST_CHARACTERS} characters.")
    return ""


def _repeated() -> str:
    """Return what to say where this form has been sent before: a double click must not send twice."""
    cache, mine = get_api().cache, to_json(secrets.token_hex(6))
    if cache.claim(cache.key("console-once", request.form.get("once", "")), mine, _ONCE_SECONDS) == mine:
        return ""
    return say(
        "这个表单已经提交过，这一次没有再发。上一次的消息可能已经发出，确认后如需再发请重新点击发送。",
        "This form was sent once already, and its message was not sent again. To send another, press the button again.",
    )


def _failed(openid: str, text: str, error: Exception) -> str:
    """Show what was refused, with the text that is still to be sent."""
    unsent = getattr(error, "unsent", None)
    rest = text if unsent is None else str(unsent)
    sent, errcode = len(parts(text)) - len(parts(rest)), getattr(error, "errcode", "-")
    audit("send a message: failed", openid=masked(openid), messages=sent, errcode=errcode)
    wrong = _in_words(error)
    if sent:
        wrong += say(f"前 {sent} 条已发出，下面是剩余部分。", f" {sent} were sent before; what remains stands below.")
    return _page(openid, rest, wrong)


def _in_words(error: Exception) -> str:
    if isinstance(error, ApiError) and error.errcode is None and PATH in error.errmsg:
        doubt = say(
            "微信没有正常回应，消息可能已经送达，重发之前请先确认。",
            "WeChat did not answer as it should, and may have sent the message: find out before you send it again.",
        )
        return f"{doubt} ({error})"
    if isinstance(error, ApiError) and error.errcode in _REFUSALS:
        return say(*_REFUSALS[error.errcode])
    return say(f"没有发出：{error}", f"Not sent: {error}")
