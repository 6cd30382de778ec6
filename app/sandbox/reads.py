"""Calls that read what an account has, and change nothing."""

from typing import Any

from app.sandbox.wechat import Answer, Call, WeChat

_PUSH_ADDRESSES = ["101.226.62.77", "101.226.103.0/25", "140.207.54.73", "183.3.234.152", "2402:4e00:20::/48"]
_API_ADDRESSES = ["101.91.34.103", "121.51.130.82"]


def push_addresses(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/getcallbackip: addresses and networks, which change now and then."""
    return {"ip_list": account.get("push_addresses", _PUSH_ADDRESSES)}


def api_addresses(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/get_api_domain_ip."""
    return {"ip_list": _API_ADDRESSES}


def agents(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/customservice/getkflist."""
    return {"kf_list": []}


def tags(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/tags/get."""
    return {"tags": [{"id": 100 + n, "name": name, "count": 0} for n, name in enumerate(account.get("tags", []))]}
