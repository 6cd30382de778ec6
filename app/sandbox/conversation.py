"""What a fan sees on the phone: what both sides said, in the order in which it came."""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from app.callback import xml
from app.sandbox.phone import FAILURE_NOTICE
from app.sandbox.state import State

_MOST_BUBBLES = 200
Record = dict[str, Any]


class Bubble(NamedTuple):
    """One thing on the screen: by ``who`` ("fan", "account", or "event" and "notice" for a line between them).

    ``content`` is what its ``kind`` (text, image, news, ...) takes; ``message`` the number of the fan's message that it
    belongs to, 0 where it belongs to none; ``is_waiting`` where WeChat still waits for the answer.
    """

    number: int
    at: float
    who: str
    kind: str
    content: dict[str, Any]
    message: int = 0
    is_waiting: bool = False


def conversation(state: State, openid: str) -> list[Bubble]:
    """Return the last of what this fan and the account said."""
    said = state.records("said", openid=openid)
    answers = state.records("answer", openid=openid)
    answered = {answer["message"] for answer in answers}
    bubbles = [_said(record, is_waiting=record["number"] not in answered) for record in said]
    bubbles += [bubble for answer in answers for bubble in _answer(answer)]
    for kind in ("message", "material"):
        bubbles += [_from_account(record) for record in state.records(kind, touser=openid)]
    return sorted(bubbles, key=attrgetter("number"))[-_MOST_BUBBLES:]


def shown(sent: Mapping[str, Any]) -> str:
    """Return what the fan sees of a customer-service message, as text: "[图文] title url" and the like."""
    kind = str(sent["msgtype"])
    content = sent.get(kind) or {}
    if kind == "text":
        return str(content.get("content", ""))
    if kind == "news":
        return "\n".join(f"[图文] {one['title']} {one.get('url', '')}".rstrip() for one in content["articles"])
    name = {"image": "图片", "voice": "语音", "video": "视频", "music": "音乐"}.get(kind, kind)
    return f"[{name}] {content.get('media_id') or content.get('title') or content.get('head_content', '')}"


def _said(record: Record, *, is_waiting: bool) -> Bubble:
    fields = xml.read(record["xml"].encode())
    kind = str(fields["MsgType"])
    if kind == "event":
        content = {"event": str(fields["Event"]).lower(), "key": fields.get("EventKey") or ""}
        return Bubble(record["number"], record["at"], "event", "event", content, record["number"], is_waiting)
    return Bubble(record["number"], record["at"], "fan", kind, _FROM_FAN[kind](fields), record["number"], is_waiting)


def _answer(record: Record) -> Iterator[Bubble]:
    number, at, message = record["number"], record["at"], record["message"]
    if record["is_failure"]:
        yield Bubble(number, at, "notice", "failure", {"text": FAILURE_NOTICE, "reason": record["reason"]}, message)
    elif record["xml"]:
        fields = xml.read_strictly(record["xml"].encode())
        kind = str(fields["MsgType"])
        who = "notice" if kind == "transfer_customer_service" else "account"
        yield Bubble(number, at, who, kind, _REPLIED[kind](fields), message)


def _from_account(record: Record) -> Bubble:
    kind = record["msgtype"]
    content = dict(record.get(kind) or {})
    if kind == "text":
        content = {"text": content.get("content", "")}
    elif kind == "news":
        content = {"articles": [_article(one) for one in content.get("articles", ())]}
    elif kind == "msgmenu":
        content["list"] = [str(one.get("content", "")) for one in content.get("list", ())]
    return Bubble(record["number"], record["at"], "account", kind, content)


def _article(article: dict[str, Any]) -> dict[str, str]:
    """Return an article with the same names, whichever of WeChat's two spellings it came in."""
    known = {name.lower(): str(value or "") for name, value in article.items()}
    return {name: known.get(name, "") for name in ("title", "description", "picurl", "url")}


def _articles(fields: xml.Fields) -> dict[str, Any]:
    items: Any = fields["Articles"]["item"]
    return {"articles": [_article(item) for item in (items if isinstance(items, list) else [items])]}


def _parts(name: str) -> Any:
    """Return what reads a reply whose parts are below ``name``, with names in lower case."""
    return lambda fields: {
        key.lower().replace("mediaid", "media_id"): value or "" for key, value in fields[name].items()
    }


_FROM_FAN: dict[str, Any] = {
    "text": lambda fields: {"text": fields["Content"]},
    "image": lambda fields: {"media_id": fields["MediaId"]},
    "voice": lambda fields: {"media_id": fields["MediaId"], "recognition": fields.get("Recognition") or ""},
    "video": lambda fields: {"media_id": fields["MediaId"]},
    "shortvideo": lambda fields: {"media_id": fields["MediaId"]},
    "location": lambda fields: {
        "latitude": fields["Location_X"],
        "longitude": fields["Location_Y"],
        "label": fields.get("Label") or "",
    },
    "link": lambda fields: {
        "title": fields["Title"],
        "description": fields.get("Description") or "",
        "url": fields["Url"],
    },
}
_REPLIED: dict[str, Any] = {
    "text": lambda fields: {"text": fields["Content"]},
    "image": _parts("Image"),
    "voice": _parts("Voice"),
    "video": _parts("Video"),
    "music": _parts("Music"),
    "news": _articles,
    "transfer_customer_service": lambda fields: {"account": (fields.get("TransInfo") or {}).get("KfAccount", "")},
}
