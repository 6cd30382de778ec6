"""Calls that read what an account has, and those about the agents of customer service."""

import re
from typing import Any

from app.sandbox.wechat import Answer, Call, Refusal, WeChat

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
    return {"kf_list": account.get("agents", [])}


def set_agent(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """POST /customservice/kfaccount/add and update."""
    name, nickname = str(call.body.get("kf_account", "")), str(call.body.get("nickname", ""))
    if not re.fullmatch(r"\w{1,10}@\w[\w-]*", name, re.ASCII) or len(name) > 30:
        raise Refusal(65402, "invalid kf_account")
    if not 1 <= len(nickname) <= 16:
        raise Refusal(65403, "invalid nickname")
    others = [agent for agent in account.get("agents", []) if agent["kf_account"] != name]
    is_new = call.path.endswith("/add")
    if is_new != (len(others) == len(account.get("agents", []))):
        raise Refusal(65406 if is_new else 65401, "kf_account exists" if is_new else "invalid custom service account")
    account["agents"] = [*others, {"kf_account": name, "kf_nick": nickname}]
    return {}


def tags(wechat: WeChat, account: dict[str, Any], call: Call) -> Answer:
    """GET /cgi-bin/tags/get."""
    return {"tags": [{"id": 100 + n, "name": name, "count": 0} for n, name in enumerate(account.get("tags", []))]}
