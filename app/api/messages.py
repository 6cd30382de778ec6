"""Customer-service messages (客服消息): what a handler may return, sent to the fan afterwards."""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from wechatpy.replies import BaseReply, EmptyReply

from app.api.client import Client
from app.blank import is_blank, without_forbidden
from app.cache import Cache, is_numbers, to_json, understood
from app.errors import ApiError, BadReply

PART_BYTES = 2048
"""The longest text of one message, in UTF-8."""
CLOSED, USED_UP, NOT_ALLOWED = 45015, 45047, 48001
PATH = "message/custom/send"
_AFTER_MESSAGE = ("message", 48 * 3600, 5)
_AFTER_ACTION = ("action", 60, 3)
# Of the buttons, those that push an event without leaving WeChat.
_ACTIONS = ("click", "scancode_push", "scancode_waitmsg", "scan", "subscribe")
# How long a window that WeChat says is closed is believed to be, unless the fan opens it.
_REFUSED_SECONDS = 600
# Where a text is best cut, the best first.
_CUTS = (re.compile(r"\n"), re.compile(r"[。！？；.!?;]"), re.compile(r"[\s，、,]"))
_ARTICLE_KEYS = {"title": "title", "description": "description", "image": "picurl", "url": "url"}
_EXPECTED = "a str, a wechatpy reply (text, image, voice, video, music, news) or a list of articles"
logger = logging.getLogger("wechat.api")


class Window(NamedTuple):
    """What a fan opened: ``left`` messages may follow until ``ends_at``, and to one more WeChat says ``errcode``."""

    left: int
    ends_at: int
    errcode: int


class Budget:
    """How many messages may still follow what a fan did: 5 in 48 hours after a message, 3 in a minute after a click
    (on the menu or on a menu message), a follow or a scan.

    The cache holds a window under a key that ends with it, and a key for each message that was sent in it.
    """

    # https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Service_Center_messages.html

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def note(self, message: Any) -> None:
        """Open the window that ``message`` opens, or close all for a fan who leaves."""
        if message.event is None:  # a click on a menu message comes as a text
            is_click = "bizmsgmenuid" in message.fields
            self._open(message.openid, *(_AFTER_ACTION if is_click else _AFTER_MESSAGE))
        elif message.event == "unsubscribe":
            self.close(message.openid, CLOSED)
        elif message.event in _ACTIONS:
            self._open(message.openid, *_AFTER_ACTION)

    def left(self, openid: str) -> int | None:
        """Return how many messages may be sent to the fan now; None where that is not known."""
        windows = self.windows(openid)
        return sum(window.left for window in windows) if windows else None

    def windows(self, openid: str) -> list[Window]:
        """Return the windows that are known of the fan now, the shorter one first; one that is closed has none left."""
        windows = self._windows(openid)
        return [Window(sum(map(self._is_free, slots)), int(ends_at), errcode) for slots, ends_at, errcode in windows]

    def take(self, openid: str, count: int) -> list[str]:
        """Take ``count`` messages from what is left, and return what to give back where they are not sent.

        Raises ApiError with WeChat's own errcode, and takes nothing, where fewer are left.
        """
        windows = list(self._windows(openid))
        taken: list[str] = []
        for slots, ends_at, _ in windows:
            seconds = max(int(ends_at - time.time()), 0) + 1
            for slot in slots:
                mine = to_json(secrets.token_hex(6))
                if len(taken) < count and self._cache.claim(slot, mine, seconds) == mine:
                    taken.append(slot)
        if not windows or len(taken) == count:
            return taken
        self.give_back(taken)
        reason = windows[-1][2] if not any(slots for slots, _, _ in windows) else USED_UP
        raise ApiError(reason, f"{count} to be sent, {len(taken)} left; known here, WeChat was not asked")

    def give_back(self, slots: Sequence[str]) -> None:
        """Give back what was taken and not sent."""
        for slot in slots:
            self._cache.delete(slot)

    def close(self, openid: str, errcode: int, since: float | None = None) -> None:
        """Note that WeChat takes nothing for the fan, for the reason ``errcode``, as of ``since``."""
        for kind in ("message", "action"):
            kept = self._cache.get(self._key(openid, kind))
            if (opened := understood(kept, _is_window)) and since is not None and opened[0] > since:
                return  # the fan has opened a window meanwhile
        for kind in ("message", "action"):
            self._cache.delete(self._key(openid, kind))
        self._open(openid, "message", _REFUSED_SECONDS, 0, errcode)

    def _open(self, openid: str, kind: str, seconds: int, count: int, reason: int = USED_UP) -> None:
        self._cache.set(self._key(openid, kind), to_json([round(time.time(), 3), seconds, count, reason]), seconds)

    def _is_free(self, slot: str) -> bool:
        return self._cache.get(slot) is None

    def _windows(self, openid: str) -> Iterator[tuple[list[str], float, int]]:
        """Yield (the keys of its messages, when it ends, errcode when used up) of each, the shorter one first."""
        for kind in ("action", "message"):
            if (kept := understood(self._cache.get(self._key(openid, kind)), _is_window)) is None:
                continue
            opened, seconds, count, reason = kept
            if opened + seconds > time.time():
                slots = [self._cache.key("sent", openid, kind, str(opened), str(number)) for number in range(count)]
                yield slots, opened + seconds, reason

    def _key(self, openid: str, kind: str) -> str:
        return self._cache.key("window", openid, kind)


def _is_window(value: Any) -> bool:
    opened, seconds, count, reason = value
    return is_numbers(opened, seconds, reason) and isinstance(count, int) and count <= _AFTER_MESSAGE[2]


def send_messages(client: Client, budget: Budget, openid: str, value: Any) -> int:
    """Send ``value`` and return how many messages it took; None, "" and [] are none.

    Raises BadReply for what cannot be sent, and ApiError; its ``unsent`` is what remains where a part was sent.
    """
    contents = contents_of(value)
    started, taken = round(time.time(), 3), budget.take(openid, len(contents))
    for number, content in enumerate(contents):
        try:
            client.post(PATH, data={"touser": openid, **content})
        except ApiError as error:
            if error.errcode is not None:  # without one, WeChat may have sent it
                budget.give_back(taken[number:])
            if error.errcode in (CLOSED, USED_UP):
                budget.close(openid, error.errcode, started)
            if number:
                error.unsent = "".join(part["text"]["content"] for part in contents[number:])
            raise
        except BaseException:  # it was never sent
            budget.give_back(taken[number:])
            raise
    return len(contents)


def contents_of(value: Any) -> list[dict[str, Any]]:
    """Return the messages that ``value`` takes, as WeChat's JSON without ``touser``. Raises BadReply."""
    if value is None or isinstance(value, EmptyReply):
        return []
    if isinstance(value, str):  # without what a passive reply could not hold either
        value = without_forbidden(value)
        return [{"msgtype": "text", "text": {"content": part}} for part in parts(value)]
    if isinstance(value, list | tuple):
        return _news(value)
    if not isinstance(value, BaseReply) or value.type not in _REPLIES:
        got = f"a reply of type {value.type!r}" if isinstance(value, BaseReply) else type(value).__name__
        raise BadReply(f"{got} cannot be sent as a customer-service message; expected {_EXPECTED}")
    field, contents = _REPLIES[value.type]
    return contents(value._data.get(field))  # not the attribute: reading one that is not set writes into the reply


def parts(text: str) -> list[str]:
    """Cut ``text`` into parts of at most 2048 bytes, at the end of a line, a sentence or a word where there is one."""
    found = []
    while len(text.encode(errors="replace")) > PART_BYTES:
        most = text.encode(errors="replace")[:PART_BYTES].decode(errors="ignore")
        ends = (max((match.end() for match in cut.finditer(most)), default=0) for cut in _CUTS)
        # Not after a few words only: the rest of the part would be left empty.
        end = next((end for end in ends if end > len(most) // 2), len(most))
        found.append(text[:end])
        text = text[end:]
    return [*found, text] if text.strip() else found


def _text(content: Any) -> list[dict[str, Any]]:
    return contents_of(content) if isinstance(content, str) else _missing("text", "content")


def _media(kind: str) -> Callable[[Any], list[dict[str, Any]]]:
    def media(media_id: Any) -> list[dict[str, Any]]:
        return (
            [{"msgtype": kind, kind: {"media_id": media_id}}] if not is_blank(media_id) else _missing(kind, "media_id")
        )

    return media


def _video(video: Any) -> list[dict[str, Any]]:
    known = {name: (video or {}).get(name) for name in ("media_id", "thumb_media_id", "title", "description")}
    if is_blank(known["media_id"]):
        return _missing("video", "media_id")
    return [{"msgtype": "video", "video": {name: value for name, value in known.items() if value is not None}}]


def _music(music: Any) -> list[dict[str, Any]]:
    names = {"music_url": "musicurl", "hq_music_url": "hqmusicurl", "thumb_media_id": "thumb_media_id"}
    names |= {"title": "title", "description": "description"}
    known = {ours: (music or {}).get(name) for name, ours in names.items()}
    if is_blank(known["thumb_media_id"]):
        return _missing("music", "thumb_media_id")
    return [{"msgtype": "music", "music": {name: value or "" for name, value in known.items()}}]


def _news(articles: Any) -> list[dict[str, Any]]:
    if not articles:
        return []
    if len(articles) > 1:
        logger.warning("articles cut from %d to 1, the most that a customer-service message takes", len(articles))
    article = articles[0]
    if not isinstance(article, Mapping) or not article.keys() <= _ARTICLE_KEYS.keys() or is_blank(article.get("title")):
        got = sorted(map(str, article)) if isinstance(article, Mapping) else type(article).__name__
        raise BadReply(f"an article is {got}; expected a dict with title and other keys of {sorted(_ARTICLE_KEYS)}")
    # An empty url would open a blank page.
    shown = {ours: str(article[name]) for name, ours in _ARTICLE_KEYS.items() if not is_blank(article.get(name))}
    return [{"msgtype": "news", "news": {"articles": [shown]}}]


def _missing(kind: str, name: str) -> list[dict[str, Any]]:
    raise BadReply(f"a reply of type {kind} has no {name}")


# The reply's type: the field of wechatpy's reply that holds the content, and what makes messages of it.
_REPLIES: dict[str, tuple[str, Callable[[Any], list[dict[str, Any]]]]] = {
    "text": ("Content", _text),
    "image": ("Image", _media("image")),
    "voice": ("Voice", _media("voice")),
    "video": ("Video", _video),
    "music": ("Music", _music),
    "news": ("Articles", _news),
}
