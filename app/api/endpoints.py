"""What wechatpy's client lacks, or calls past it."""

from typing import Any
from urllib.parse import quote

from wechatpy.client.api import WeChatCloud, WeChatJSAPI, WeChatMedia, WeChatMenu, WeChatQRCode
from wechatpy.client.api.base import BaseWeChatAPI


class Drafts(BaseWeChatAPI):
    """The drafts of articles (草稿箱)."""

    # https://developers.weixin.qq.com/doc/offiaccount/Draft_Box/Add_draft.html

    def add(self, articles: list[dict[str, Any]]) -> Any:
        """Add a draft of 1 to 8 articles, each with title, content and thumb_media_id; return {"media_id"}."""
        return self._post("draft/add", data={"articles": articles})

    def get(self, media_id: str) -> Any:
        """Return {"news_item": [article, ...]}."""
        return self._post("draft/get", data={"media_id": media_id})

    def update(self, media_id: str, article: dict[str, Any], index: int = 0) -> Any:
        """Replace the article at ``index``, counted from 0."""
        return self._post("draft/update", data={"media_id": media_id, "index": index, "articles": article})

    def delete(self, media_id: str) -> Any:
        """Delete the draft."""
        return self._post("draft/delete", data={"media_id": media_id})

    def count(self) -> int:
        """Return how many drafts there are."""
        return int(self._get("draft/count")["total_count"])

    def batchget(self, offset: int = 0, count: int = 20, no_content: bool = False) -> Any:
        """Return {"total_count", "item_count", "item"}, at most 20 at once."""
        return self._post("draft/batchget", data={"offset": offset, "count": count, "no_content": int(no_content)})


class Published(BaseWeChatAPI):
    """Publishing drafts (发布能力), and what is published."""

    # https://developers.weixin.qq.com/doc/offiaccount/Publish/Publish.html

    def submit(self, media_id: str) -> Any:
        """Publish the draft; return {"publish_id"}. An event PUBLISHJOBFINISH says how it ended."""
        return self._post("freepublish/submit", data={"media_id": media_id})

    def get(self, publish_id: str) -> Any:
        """Return {"publish_status", "article_id", ...}."""
        return self._post("freepublish/get", data={"publish_id": publish_id})

    def get_article(self, article_id: str) -> Any:
        """Return {"news_item": [article, ...]}."""
        return self._post("freepublish/getarticle", data={"article_id": article_id})

    def delete(self, article_id: str, index: int = 0) -> Any:
        """Delete the article at ``index``, counted from 1; 0 deletes all."""
        return self._post("freepublish/delete", data={"article_id": article_id, "index": index})

    def batchget(self, offset: int = 0, count: int = 20, no_content: bool = False) -> Any:
        """Return {"total_count", "item_count", "item"}, at most 20 at once."""
        data = {"offset": offset, "count": count, "no_content": int(no_content)}
        return self._post("freepublish/batchget", data=data)


class SubscribeMessages(BaseWeChatAPI):
    """Subscription notices (订阅通知)."""

    # https://developers.weixin.qq.com/doc/offiaccount/Subscription_Messages/api.html

    API_BASE_URL = "https://api.weixin.qq.com/"

    def send(self, openid: str, template_id: str, data: dict[str, Any], **more: Any) -> Any:
        """Send a notice; ``data`` as {"thing1": {"value": "…"}}, ``more`` is page or miniprogram."""
        message = {"touser": openid, "template_id": template_id, "data": data, **more}
        return self._post("cgi-bin/message/subscribe/bizsend", data=message)

    def add_template(self, tid: str, keywords: list[int], scene: str) -> Any:
        """Add a template of the library; return {"priTmplId"}."""
        return self._post("wxaapi/newtmpl/addtemplate", data={"tid": tid, "kidList": keywords, "sceneDesc": scene})

    def delete_template(self, template_id: str) -> Any:
        """Delete one of the account's templates."""
        return self._post("wxaapi/newtmpl/deltemplate", data={"priTmplId": template_id})

    def get_category(self) -> Any:
        """Return the account's categories, {"data": [{"id", "name"}]}."""
        return self._get("wxaapi/newtmpl/getcategory")

    def get_template_keywords(self, tid: str) -> Any:
        """Return the keywords of a template of the library."""
        return self._get("wxaapi/newtmpl/getpubtemplatekeywords", params={"tid": tid})

    def get_template_titles(self, category_ids: str, start: int = 0, limit: int = 30) -> Any:
        """Return the templates of the library in these categories, separated by commas."""
        params = {"ids": category_ids, "start": start, "limit": limit}
        return self._get("wxaapi/newtmpl/getpubtemplatetitles", params=params)

    def get_templates(self) -> Any:
        """Return the account's templates, {"data": [{"priTmplId", "title", ...}]}."""
        return self._get("wxaapi/newtmpl/gettemplate")


class Cloud(WeChatCloud):
    """wechatpy's, with a time-out also for the storage that takes the file."""

    def upload_file(self, env: str, path: str) -> Any:
        """Upload the file at ``path`` to the environment ``env``; return the storage's response. Raises ApiError."""
        # https://developers.weixin.qq.com/miniprogram/dev/wxcloud/reference-http-api/storage/uploadFile.html
        said = self._post("tcb/uploadfile", data={"env": env, "path": path})
        names = {"Signature": "authorization", "x-cos-security-token": "token", "x-cos-meta-fileid": "cos_file_id"}
        with open(path, "rb") as file:
            form = {"file": file, "key": path, **{name: said[ours] for name, ours in names.items()}}
            return self._client.store_file(said["url"], form)


class JSAPI(WeChatJSAPI):
    """wechatpy's, with the ticket that all processes share."""

    def get_jsapi_ticket(self) -> str:
        """Return the ticket of the JS-SDK."""
        return str(self._client.jsapi_ticket)


class Media(WeChatMedia):
    """wechatpy's, with the address of this client's API."""

    def get_url(self, media_id: str) -> str:
        """Return the address of a file; it holds the access token."""
        base, token = self._client.base_url, quote(self._client.access_token)
        return f"{base}/cgi-bin/media/get?access_token={token}&media_id={quote(media_id)}"


class Menu(WeChatMenu):
    """wechatpy's, with the id of a conditional menu as its page shows it."""

    def del_conditional(self, menu_id: str | int) -> Any:
        """Delete a conditional menu; menu/get gives its id as a number, and WeChat takes it as a text."""
        # https://developers.weixin.qq.com/doc/offiaccount/Custom_Menus/Personalized_menu_interface.html
        return self._post("menu/delconditional", data={"menuid": str(menu_id)})


class QRCode(WeChatQRCode):
    """wechatpy's, with the client's time-out."""

    def show(self, ticket: Any) -> Any:
        """Return the response that holds the picture."""
        ticket = ticket["ticket"] if isinstance(ticket, dict) else ticket
        url = "https://mp.weixin.qq.com/cgi-bin/showqrcode"
        return self._client.without_token("get", url, params={"ticket": ticket})
