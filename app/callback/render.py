"""Step 6: from what a handler returned to the XML that WeChat takes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wechatpy.replies import BaseReply, EmptyReply

from app.blank import is_blank, without_forbidden
from app.callback.xml import cdata
from app.config import TEXT_LIMIT_BYTES
from app.errors import BadReply

_ARTICLES_FOR_MESSAGE, _ARTICLES_FOR_EVENT = 1, 8
_ARTICLE_KEYS = {"title": "Title", "description": "Description", "image": "PicUrl", "url": "Url"}
_EXPECTED = (
    "expected a str, a wechatpy reply (text, image, voice, video, music, news, transfer_customer_service), "
    "a list of articles, or None"
)
logger = logging.getLogger(__name__)


def render(value: Any, message: Any, create_time: int, *, answers_event: bool | None = None) -> str:
    """Return the reply's XML for the fan who sent ``message``, or "" for silence; ``value`` is read, never changed.

    ``create_time`` is in seconds since 1970. None, "", [] and wechatpy's EmptyReply are silence. ``answers_event``
    tells whether it will answer an event; by default, whether ``message`` is one.
    Raises BadReply when ``value`` is nothing that can be sent.
    """
    # https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Passive_user_reply_message.html
    answers_event = message.event is not None if answers_event is None else answers_event
    msg_type, content = _content(value, _ARTICLES_FOR_EVENT if answers_event else _ARTICLES_FOR_MESSAGE)
    if not content and msg_type != "transfer_customer_service":
        return ""
    return (
        f"<xml><ToUserName>{cdata(message.openid)}</ToUserName>"
        f"<FromUserName>{cdata(message.fields['ToUserName'])}</FromUserName>"
        f"<CreateTime>{create_time}</CreateTime><MsgType><![CDATA[{msg_type}]]></MsgType>{content}</xml>"
    )


def _content(value: Any, most_articles: int) -> tuple[str, str]:
    if value is None or isinstance(value, EmptyReply):
        return "", ""
    if isinstance(value, str):
        return "text", _text(value, most_articles)
    if isinstance(value, list | tuple):
        return "news", _news(value, most_articles)
    if not isinstance(value, BaseReply):
        raise BadReply(f"the handler returned {type(value).__name__}; {_EXPECTED}")
    row = _REPLIES.get(value.type)
    if row is None:
        raise BadReply(f"the handler returned a wechatpy reply of type {value.type!r}; {_EXPECTED}")
    field, render_content = row
    # Not the reply's attributes: reading one that is not set writes its default into the reply.
    return value.type, render_content(value._data.get(field) if field else value, most_articles)


def _text(text: Any, most_articles: int) -> str:
    if not isinstance(text, str):
        raise BadReply(f"a text reply's content is {type(text).__name__}; expected a str")
    text = without_forbidden(text)
    data = text.encode()
    if len(data) > TEXT_LIMIT_BYTES:
        logger.warning("text cut from %d to %d bytes, the most that WeChat takes", len(data), TEXT_LIMIT_BYTES)
        text = data[:TEXT_LIMIT_BYTES].decode(errors="ignore")
    return f"<Content>{cdata(text)}</Content>" if not is_blank(text) else ""


def _media(tag: str) -> Callable[[Any, int], str]:
    def render_media(media_id: Any, most_articles: int) -> str:
        return f"<{tag}>{_element('MediaId', _required(media_id, tag.lower(), 'media_id'))}</{tag}>"

    return render_media


def _video(video: Any, most_articles: int) -> str:
    video = video or {}
    media_id = _required(video.get("media_id"), "video", "media_id")
    optional = _optional(video, {"title": "Title", "description": "Description"})
    return f"<Video>{_element('MediaId', media_id)}{optional}</Video>"


def _music(music: Any, most_articles: int) -> str:
    music = music or {}
    thumb_media_id = _required(music.get("thumb_media_id"), "music", "thumb_media_id")
    names = {"title": "Title", "description": "Description", "music_url": "MusicUrl", "hq_music_url": "HQMusicUrl"}
    return f"<Music>{_optional(music, names)}{_element('ThumbMediaId', thumb_media_id)}</Music>"


def _news(articles: Sequence[Any], most_articles: int) -> str:
    if articles and len(articles) > most_articles:
        logger.warning("articles cut from %d to %d, the most that WeChat takes here", len(articles), most_articles)
    items = "".join(map(_article, (articles or ())[:most_articles]))
    count = items and min(len(articles), most_articles)
    return items and f"<ArticleCount>{count}</ArticleCount><Articles>{items}</Articles>"


def _article(article: Any) -> str:
    if not isinstance(article, Mapping) or not article.keys() <= _ARTICLE_KEYS.keys():
        got = sorted(map(str, article)) if isinstance(article, Mapping) else type(article).__name__
        raise BadReply(f"an article is {got}; expected a dict with keys of {sorted(_ARTICLE_KEYS)}")
    if is_blank(article.get("title")):
        raise BadReply("an article has no title")
    return f"<item>{_optional(article, _ARTICLE_KEYS)}</item>"


def _transfer(reply: Any, most_articles: int) -> str:
    kf_account = getattr(reply, "kf_account", None)
    return f"<TransInfo>{_element('KfAccount', kf_account)}</TransInfo>" if not is_blank(kf_account) else ""


def _element(tag: str, value: Any) -> str:
    return f"<{tag}>{cdata(str(value))}</{tag}>"


def _optional(values: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return "".join(_element(tag, values[name]) for name, tag in names.items() if not is_blank(values.get(name)))


def _required(value: Any, reply: str, name: str) -> str:
    if not isinstance(value, str) or is_blank(value):
        raise BadReply(f"a reply of type {reply} has no {name}")
    return value


# The reply's type: the field of wechatpy's reply that holds the content, and what renders it.
_REPLIES: dict[str, tuple[str, Callable[[Any, int], str]]] = {
    "text": ("Content", _text),
    "image": ("Image", _media("Image")),
    "voice": ("Voice", _media("Voice")),
    "video": ("Video", _video),
    "music": ("Music", _music),
    "news": ("Articles", _news),
    "transfer_customer_service": ("", _transfer),
}
