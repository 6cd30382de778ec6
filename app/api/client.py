"""The client: wechatpy's, with one token for all, time-outs, few repetitions, and one exception."""

import hashlib
import logging
from typing import Any
from urllib.parse import parse_qsl

from wechatpy.client import WeChatClient

from app.api.calls import Calls, WeChatApiError, rewind
from app.api.endpoints import JSAPI, Cloud, Drafts, Media, Menu, Published, QRCode, SubscribeMessages
from app.api.kept import Kept, State
from app.api.media import named, with_new_ids
from app.api.pauses import Pauses
from app.api.today import CustomService, Material, Message, Template
from app.cache import Cache
from app.config import Settings
from app.errors import ApiError

_BAD_TOKEN = (40001, 40014, 42001)
_BAD_TOKEN_OF_TICKET = -1000
_NO_SUCH_MEDIA = 40007
logger = logging.getLogger("wechat.api")


class Client(WeChatClient):
    """wechatpy's client for one account, to be used by any number of threads.

    Every call raises ApiError when WeChat refuses it or does not answer in time.
    """

    cloud = Cloud()
    customservice = CustomService()
    draft = Drafts()
    freepublish = Published()
    jsapi = JSAPI()
    material = Material()
    media = Media()
    menu = Menu()
    message = Message()
    qrcode = QRCode()
    subscribe_message = SubscribeMessages()
    template = Template()

    def __init__(self, settings: Settings, cache: Cache) -> None:
        super().__init__(settings.appid, settings.appsecret, auto_retry=False)
        # A token belongs to its API and secret: after a change of either, the old one is not looked at.
        about = f"{settings.api_base_url} {self.secret}"
        name = hashlib.blake2b(about.encode(), digest_size=8).hexdigest()
        self._cache = cache
        self._pauses = Pauses(cache, name)
        self._calls = Calls(settings.api_base_url, self._pauses, settings.secrets)
        self._http = self._calls.http
        self._token = Kept(cache, f"token:{name}", self._fetch_token)
        self._ticket = Kept(cache, f"ticket:{name}", self._fetch_ticket)

    @property
    def base_url(self) -> str:
        """Where the calls go."""
        return self._calls.base_url

    @property
    def access_token(self) -> str:
        """The token, the same for all processes. Raises ApiError."""
        return self._token.get()

    @property
    def jsapi_ticket(self) -> str:
        """The ticket of the JS-SDK, kept as the token is. Raises ApiError."""
        return self._ticket.get()

    @property
    def token_state(self) -> State:
        """How the token is; WeChat is not asked."""
        return self._token.state()

    def fetch_access_token(self) -> None:
        """Fetch nothing: the token is renewed by itself. Raises ApiError where there is none to be had."""
        self._token.get()

    def clear_quota(self) -> Any:
        """Set the daily quotas of all calls back; WeChat takes this ten times a month."""
        # https://developers.weixin.qq.com/doc/offiaccount/openApi/clear_quota.html
        said = self.post("clear_quota", data={"appid": self.appid})
        self._pauses.clear_quotas()
        return said

    def get_api_quota(self, cgi_path: str) -> Any:
        """Return {"daily_limit", "used", "remain"} of a call such as ``/cgi-bin/message/custom/send``."""
        # https://developers.weixin.qq.com/doc/offiaccount/openApi/get_api_quota.html
        return self.post("openapi/quota/get", data={"cgi_path": cgi_path}, result_processor=lambda said: said["quota"])

    def get_rid(self, rid: str) -> Any:
        """Return what WeChat has recorded of the call ``rid``, within 7 days."""
        # https://developers.weixin.qq.com/doc/offiaccount/openApi/get_rid_info.html
        return self.post("openapi/rid/get", data={"rid": rid}, result_processor=lambda said: said["request"])

    def without_token(self, method: str, url: str, **kwargs: Any) -> Any:
        """Make a call that takes no access token, such as those of OAuth, and return its JSON. Raises ApiError."""
        return self._calls.make(method, url, **kwargs)

    def store_file(self, url: str, form: Any) -> Any:
        """Post ``form`` to the storage at ``url``, which is none of WeChat's API. Raises ApiError."""
        return self._calls.store(url, form)

    def _request(self, method: str, url_or_endpoint: str, **kwargs: Any) -> Any:
        """Make a call, and once more where WeChat has forgotten a file that is kept here: with a new media_id."""
        if files := kwargs.get("files"):
            kwargs["files"] = {field: named(file) for field, file in files.items()}
        try:
            return self._with_token(method, url_or_endpoint, **kwargs)
        except ApiError as error:
            if error.errcode != _NO_SUCH_MEDIA:
                raise
            refused = error
        if (data := with_new_ids(self, self._cache.fans, kwargs.get("data"))) is None:
            raise refused
        return self._with_token(method, url_or_endpoint, **{**kwargs, "data": data})

    def _with_token(self, method: str, url_or_endpoint: str, **kwargs: Any) -> Any:
        """Make a call with the token, and once more with another where WeChat says that it is bad."""
        base = kwargs.pop("api_base_url", self.API_BASE_URL)
        url = url_or_endpoint if url_or_endpoint.startswith(("http://", "https://")) else base + url_or_endpoint
        process, given = kwargs.pop("result_processor", None), kwargs.pop("params", None) or {}
        given = dict(parse_qsl(given) if isinstance(given, str) else given)
        theirs = given.pop("access_token", None)
        token = theirs or self.access_token
        try:
            return self._made(method, url, given, token, process, kwargs)
        except ApiError as error:
            # Not where the caller gave another token than this one; some of wechatpy's calls give this one.
            is_bad = error.errcode in _BAD_TOKEN
            is_bad |= error.errcode == _BAD_TOKEN_OF_TICKET and url.endswith("/ticket/getticket")
            if not is_bad or theirs not in (None, self._token.standing()):
                raise
            refused = error
        other = self._token.replace(token)
        if other is None or other == token:
            raise refused
        rewind(kwargs.get("files"))
        return self._made(method, url, given, other, process, kwargs)

    def _made(self, method: str, url: str, params: Any, token: str, process: Any, kwargs: Any) -> Any:
        said = self._calls.make(method, url, params={**params, "access_token": token}, **kwargs)
        return process(said) if process and isinstance(said, dict) else said

    def _fetch_token(self, force: bool) -> tuple[str, float]:
        # https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/getStableAccessToken.html
        wanted = {"grant_type": "client_credential", "appid": self.appid, "secret": self.secret}
        said = self.without_token("post", "/cgi-bin/stable_token", data={**wanted, "force_refresh": force})
        token, seconds = _with_seconds(said, "access_token")
        logger.info("fetched an access token for %d s%s", seconds, ", by force" if force else "")
        return token, seconds

    def _fetch_ticket(self, force: bool) -> tuple[str, float]:
        # https://developers.weixin.qq.com/doc/offiaccount/OA_Web_Apps/JS-SDK.html
        return _with_seconds(self.get("ticket/getticket", params={"type": "jsapi"}), "ticket")


def _with_seconds(said: Any, name: str) -> tuple[str, float]:
    value, seconds = (said.get(name), said.get("expires_in")) if isinstance(said, dict) else (None, None)
    if not isinstance(value, str) or not value or not isinstance(seconds, int | float) or seconds <= 0:
        raise WeChatApiError(None, f"WeChat's answer holds no {name} with expires_in")
    return value, float(seconds)
