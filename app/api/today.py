"""wechatpy's calls as WeChat's pages have them today, where wechatpy is behind: its last release is of February 2025.

docs/calls.md lists which calls were compared.
"""

import json
from collections.abc import Mapping
from typing import Any

from wechatpy.client.api import WeChatCustomService, WeChatMaterial, WeChatMessage, WeChatTemplate

_OF_DRAFT = ("title", "author", "digest", "content", "content_source_url", "thumb_media_id")
_OF_DRAFT_TOO = ("need_open_comment", "only_fans_can_comment", "article_type", "image_info", "product_info")


class Message(WeChatMessage):
    """wechatpy's, whose mass messages name a tag where they named a group."""

    def _send_mass_message(
        self,
        group_or_users: Any,
        msg_type: str,
        msg: dict[str, Any],
        is_to_all: bool = False,
        preview: bool = False,
        send_ignore_reprint: int = 0,
        client_msg_id: str | None = None,
    ) -> Any:
        # https://developers.weixin.qq.com/doc/service/api/notify/message/api_sendall
        if preview:
            return super()._send_mass_message(
                group_or_users, msg_type, msg, is_to_all, True, send_ignore_reprint, client_msg_id
            )
        data: dict[str, Any] = {"msgtype": msg_type, "send_ignore_reprint": send_ignore_reprint, **msg}
        if msg_type == "image":  # several at once, which is how the page has one, too
            data["images"] = {"media_ids": [data.pop("image")["media_id"]]}
        if client_msg_id is not None:
            data["clientmsgid"] = client_msg_id
        if isinstance(group_or_users, list | tuple):
            return self._post("message/mass/send", data=data | {"touser": list(group_or_users)})
        whom: dict[str, Any] = {"is_to_all": is_to_all}
        if group_or_users is not None:
            whom["tag_id"] = int(group_or_users)
        return self._post("message/mass/sendall", data=data | {"filter": whom})

    def delete_mass(self, msg_id: int, article_idx: int = 0) -> Any:
        """Delete a mass message, or its article at ``article_idx``, counted from 1; 0 deletes all."""
        # https://developers.weixin.qq.com/doc/service/api/notify/message/api_deletemassmsg
        return self._post("message/mass/delete", data={"msg_id": msg_id, "article_idx": article_idx})

    def send_template(
        self,
        user_id: str,
        template_id: str,
        data: dict[str, Any],
        url: str | None = None,
        mini_program: dict[str, Any] | None = None,
        client_msg_id: str | None = None,
    ) -> Any:
        """Send a template message; one of the same ``client_msg_id`` (32 characters) is sent once in 10 minutes."""
        # https://developers.weixin.qq.com/doc/service/api/notify/template/api_sendtemplatemessage
        message = {"touser": user_id, "template_id": template_id, "data": data, "url": url}
        more = {"miniprogram": mini_program, "client_msg_id": client_msg_id}
        return self._post("message/template/send", data=_given(message | more))

    def send_subscribe_template(
        self, openid: str, template_id: str, scene: int, title: str, data: dict[str, Any], url: str | None = None
    ) -> Any:
        """Send a one-off subscription message (一次性订阅消息)."""
        message = {"touser": openid, "template_id": template_id, "scene": scene, "title": title, "data": data}
        return self._post("message/template/subscribe", data=_given(message | {"url": url}))

    def send_typing(self, user_id: str, is_typing: bool = True) -> Any:
        """Show the fan that somebody is typing (客服输入状态), for 15 seconds or until a message; or no longer."""
        # https://developers.weixin.qq.com/doc/service/api/customer/message/api_typing
        command = "Typing" if is_typing else "CancelTyping"
        return self._post("message/custom/typing", data={"touser": user_id, "command": command})


class Template(WeChatTemplate):
    """wechatpy's, with the keywords that WeChat asks for today."""

    def add(self, template_id_short: str, keyword_name_list: list[str] | None = None) -> Any:
        """Add a template of the library with these keywords (类目模板的关键词); return its template_id."""
        # https://developers.weixin.qq.com/doc/service/api/notify/template/api_addtemplate
        data = {"template_id_short": template_id_short, "keyword_name_list": keyword_name_list}
        return self._post(
            "template/api_add_template", data=_given(data), result_processor=lambda said: said["template_id"]
        )

    get = add


class CustomService(WeChatCustomService):
    """wechatpy's; an agent has no password any more, and one that is given is not sent."""

    def add_account(self, account: str, nickname: str, password: str | None = None) -> Any:
        """Add the agent ``account``, PREFIX@ACCOUNT."""
        # https://developers.weixin.qq.com/doc/service/api/customer/servicermanage/api_addkfaccount
        return self._account("add", account, nickname)

    def update_account(self, account: str, nickname: str, password: str | None = None) -> Any:
        """Change the agent's nickname."""
        # https://developers.weixin.qq.com/doc/service/api/customer/servicermanage/api_updatekfaccount
        return self._account("update", account, nickname)

    def delete_account(self, account: str) -> Any:
        """Delete the agent."""
        # https://developers.weixin.qq.com/doc/service/api/customer/servicermanage/api_delkfaccount
        url, given = "https://api.weixin.qq.com/customservice/kfaccount/del", {"kf_account": account}
        return self._post(url, params=given, data=given)  # in the body today, in the query before

    def _account(self, what: str, account: str, nickname: str) -> Any:
        url = f"https://api.weixin.qq.com/customservice/kfaccount/{what}"
        return self._post(url, data={"kf_account": account, "nickname": nickname})


class Material(WeChatMaterial):
    """wechatpy's, with a video's description in the form, and drafts where permanent articles were."""

    def add(self, media_type: str, media_file: Any, title: str | None = None, introduction: str | None = None) -> Any:
        """Add a permanent file, a video with title and introduction; return {"media_id"}, of an image "url", too."""
        # https://developers.weixin.qq.com/doc/service/api/material/permanent/api_addmaterial
        form: dict[str, str] = {}
        if media_type == "video":
            if not title or not introduction:
                raise ValueError("a video takes a title and an introduction")
            told = {"title": title, "introduction": introduction}
            form["description"] = json.dumps(told, ensure_ascii=False)
        params = {"type": media_type}
        return self._post("material/add_material", params=params, data=form, files={"media": media_file})

    def add_articles(self, articles: list[Mapping[str, Any]]) -> Any:
        """Add articles as a draft: WeChat has no other permanent ones any more; return {"media_id"}."""
        # https://developers.weixin.qq.com/doc/service/api/draftbox/draftmanage/api_draft_add
        return self._post("draft/add", data={"articles": [_article(one) for one in articles]})

    def update_article(self, media_id: str, index: int, article: Mapping[str, Any]) -> Any:
        """Replace the draft's article at ``index``, counted from 0."""
        return self._post("draft/update", data={"media_id": media_id, "index": index, "articles": _article(article)})


def _article(article: Mapping[str, Any]) -> dict[str, Any]:
    flags = {name: int(article[name]) for name in _OF_DRAFT_TOO[:2] if name in article}
    more = {name: article[name] for name in _OF_DRAFT_TOO[2:] if name in article}
    return {name: article[name] for name in _OF_DRAFT if name in article} | flags | more


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
