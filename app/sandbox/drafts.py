"""The calls about drafts and what is published of them."""

import secrets
import time
from typing import Any

from app.sandbox.wechat import Answer, Call, Endpoint, Refusal, WeChat


def add(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST draft/add."""
    articles = call.body.get("articles")
    if not articles or not all(article.get("title") and article.get("content") for article in articles):
        raise Refusal(44003, "empty news data")
    media_id = f"draft_{secrets.token_urlsafe(30)}"
    account.setdefault("drafts", {})[media_id] = {"news_item": articles, "update_time": int(time.time())}
    return {"media_id": media_id}


def get(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST draft/get."""
    return {"news_item": _draft(account, call)["news_item"]}


def update(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST draft/update: the article at ``index``."""
    articles, index = _draft(account, call)["news_item"], int(call.body.get("index", 0))
    if not 0 <= index < len(articles):
        raise Refusal(53404, "invalid index")
    articles[index] = call.body["articles"]
    return {}


def delete(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST draft/delete."""
    _draft(account, call)
    del account["drafts"][call.body["media_id"]]
    return {}


def count(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST draft/count."""
    return {"total_count": len(account.get("drafts", {}))}


def batchget(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST draft/batchget."""
    return _page(account.get("drafts", {}), "media_id", call)


def submit(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST freepublish/submit: the draft becomes an article."""
    draft = _draft(account, call)
    del account["drafts"][call.body["media_id"]]
    publish_id, article_id = str(secrets.randbelow(10**10)), secrets.token_urlsafe(30)
    account.setdefault("published", {})[article_id] = {**draft, "publish_id": publish_id}
    return {"publish_id": publish_id}


def status(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST freepublish/get: what became of a submission."""
    for article_id, article in account.get("published", {}).items():
        if article["publish_id"] == str(call.body.get("publish_id")):
            return {"publish_id": article["publish_id"], "publish_status": 0, "article_id": article_id}
    raise Refusal(53500, "invalid publish_id")


def article(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST freepublish/getarticle."""
    return {"news_item": _article(account, call)["news_item"]}


def unpublish(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST freepublish/delete."""
    _article(account, call)
    del account["published"][call.body["article_id"]]
    return {}


def published(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST freepublish/batchget."""
    return _page(account.get("published", {}), "article_id", call)


def _draft(account: dict[str, Any], call: Call) -> dict[str, Any]:
    draft: dict[str, Any] | None = account.get("drafts", {}).get(call.body.get("media_id"))
    if draft is None:
        raise Refusal(40007, "invalid media_id")
    return draft


def _article(account: dict[str, Any], call: Call) -> dict[str, Any]:
    found: dict[str, Any] | None = account.get("published", {}).get(call.body.get("article_id"))
    if found is None:
        raise Refusal(53600, "invalid article_id")
    return found


def _page(items: dict[str, Any], name: str, call: Call) -> Answer:
    first = int(call.body.get("offset", 0))
    page = list(items.items())[first : first + int(call.body.get("count", 20))]
    found = [{name: key, "content": {"news_item": item["news_item"]}} for key, item in page]
    return {"total_count": len(items), "item_count": len(found), "item": found}


DRAFT: dict[str, Endpoint] = {
    "add": add,
    "get": get,
    "update": update,
    "delete": delete,
    "count": count,
    "batchget": batchget,
}
PUBLISHED: dict[str, Endpoint] = {
    "submit": submit,
    "get": status,
    "getarticle": article,
    "delete": unpublish,
    "batchget": published,
}
