"""What a menu's buttons bring the fan from the account's own material, without any event."""

from typing import Any

from app.sandbox.state import State

_SHOWN = ("image", "voice", "video")


def material_message(state: State, openid: str, material_id: str) -> dict[str, Any]:
    """Return the message that brings the fan a media_id or an article_id, as one of customer service has it.

    What the sandbox does not hold, as all that is kept at WeChat alone, is of the msgtype "material".
    """
    with state.changed() as account:
        published, drafts = account.get("published", {}), account.get("drafts", {})
        kept = published.get(material_id) or drafts.get(material_id)
    if kept:
        return {"touser": openid, "msgtype": "news", "news": {"articles": [_card(one) for one in kept["news_item"]]}}
    media_type = state.media_type(material_id)
    msgtype = media_type if media_type in _SHOWN else "material"
    return {"touser": openid, "msgtype": msgtype, msgtype: {"media_id": material_id}}


def _card(article: dict[str, Any]) -> dict[str, str]:
    url = article.get("content_source_url", "")
    return {"title": article["title"], "description": article.get("digest", ""), "url": url}
