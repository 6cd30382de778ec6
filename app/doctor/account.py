"""WeChat's API: the token, what the account may call, what of its quotas is used, and WeChat's addresses."""

from urllib.parse import urlsplit

from app import place
from app.api import get_client
from app.api.callers import Network, api_addresses, push_addresses, short
from app.api.client import Client
from app.api.pauses import todo
from app.config import WECHAT_API_BASE_URL, Settings
from app.doctor.finding import Finding, Findings, ok, warning, wrong
from app.errors import ApiError

_TOKEN_PATH = "/cgi-bin/stable_token"  # noqa: S105 (a path)
_NOT_ALLOWED = (48001, 76022)
_MOST_USED = 0.8
# A call that changes nothing, and what the account may do that may make it.
_CAPABILITIES = {
    "get_current_selfmenu_info": "menus",
    "customservice/getkflist": "customer service",
    "tags/get": "fans and tags",
    "material/get_materialcount": "media and drafts",
    "ticket/getticket": "JS-SDK",
}
_COUNTED = {
    "/cgi-bin/message/custom/send": "customer service messages",
    "/cgi-bin/qrcode/create": "QR codes",
    "/cgi-bin/menu/create": "menu pushes",
    "/cgi-bin/media/upload": "uploads",
}


def check_account(settings: Settings, allowed: list[Network] | None) -> Findings:
    """Yield what WeChat's API says; ``allowed`` is who may call the callback, None for everybody.

    Nothing is changed by it, but that a token is fetched where none stands.
    """
    if not settings.has_api:
        yield ok("API", "not asked: it takes an AppSecret")
        return
    client = get_client()
    where = "" if settings.api_base_url == WECHAT_API_BASE_URL else f", by {urlsplit(settings.api_base_url).hostname}"
    try:
        _ = client.access_token
        yield ok("access token", f"fetched for {settings.appid}{where}")
        yield from _capabilities(settings, client)
        yield from _quotas(settings, client)
        yield from _addresses(client, allowed)
    except ApiError as error:
        yield _failed(settings, error)


def _failed(settings: Settings, error: ApiError) -> Finding:
    reach = "let this machine reach api.weixin.qq.com:443"
    if settings.api_base_url != WECHAT_API_BASE_URL:
        reach = f"let this machine reach {urlsplit(settings.api_base_url).hostname}, which must pass calls on to WeChat"
    known = todo(_TOKEN_PATH, error) or "look the errcode up, and compare WECHAT_APPID with the account's page"
    return wrong("API", str(error), reach if error.errcode is None else known)


def _capabilities(settings: Settings, client: Client) -> Findings:
    """Yield what the account may call. Raises ApiError where WeChat cannot be asked at all."""
    for call, name in _CAPABILITIES.items():
        try:
            client.get(call, params={"type": "jsapi"} if name == "JS-SDK" else None)
        except ApiError as error:
            if error.errcode is None:
                raise
            yield _refused(name, error, settings)
        else:
            yield ok(name, "the account may")


def _refused(name: str, error: ApiError, settings: Settings) -> Finding:
    if error.errcode not in _NOT_ALLOWED:
        return warning(name, str(error), todo("", error) or f"{place.command('wechat doctor')} again in a while")
    if name == "customer service" and settings.late_reply == "customer_service":
        found = "the account may not (48001), and WECHAT_LATE_REPLY=customer_service sends late answers so"
        return wrong(name, found, "WECHAT_LATE_REPLY=auto")
    where = "the account's page lists what it may: 设置与开发 → 接口权限"
    return warning(name, f"the account may not ({error.errcode})", f"nothing, if nobody needs it; {where}")


def _quotas(settings: Settings, client: Client) -> Findings:
    """Yield how much of today's quotas is used. Raises ApiError where WeChat cannot be asked at all."""
    used: list[str] = []
    for path, name in _COUNTED.items():
        try:
            quota = client.get_api_quota(path)
        except ApiError as error:
            if error.errcode is None:
                raise
            yield _refused(name, error, settings)
            continue
        most, count = int(quota.get("daily_limit") or 0), int(quota.get("used") or 0)
        if most and count > most * _MOST_USED:
            later = "call less, or clear it once: get_client().clear_quota(); it ends at midnight in Beijing"
            yield warning("quota", f"{name}: {count} of {most} are used today", later)
        else:
            used.append(f"{name} {count} of {most}" if most else f"{name} {count}")
    if used:
        yield ok("quota", "used today: " + ", ".join(used))


def _addresses(client: Client, allowed: list[Network] | None) -> Findings:
    pushing, of_api = push_addresses(client), api_addresses(client)
    yield ok("addresses", f"WeChat pushes from {len(pushing)} addresses and networks; its API has {len(of_api)}")
    if allowed is None:
        yield ok("callers", "everybody may call; the signature tells who is WeChat")
        return
    missing = [short(one) for one in pushing if not any(_holds(network, one) for network in allowed)]
    if missing:
        found = f"nginx refuses {len(missing)} of WeChat's addresses: {', '.join(missing[:5])}"
        refresh = f"{place.command('wechat ips --format nginx')}, into the file that nginx includes; then reload it"
        yield wrong("callers", found, refresh)
    else:
        yield ok("callers", f"nginx lets in {len(allowed)} addresses and networks, all of WeChat's among them")


def _holds(network: Network, one: Network) -> bool:
    return network.version == one.version and one.subnet_of(network)  # type: ignore[arg-type]
