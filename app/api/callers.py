"""The addresses of WeChat: where its messages come from, and where its API is."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from app.api.client import Client
from app.errors import ApiError

Network = IPv4Network | IPv6Network
# A wider network would let in everybody.
_WIDEST_PREFIX = {4: 8, 6: 16}


def push_addresses(client: Client) -> list[Network]:
    """Return the addresses that WeChat's messages come from, sorted, each once.

    Raises ApiError, also for an answer that is no list of addresses.
    """
    # https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/Get_the_WeChat_server_IP_address.html
    return _networks(client.get("getcallbackip"), "getcallbackip")


def api_addresses(client: Client) -> list[Network]:
    """Return the addresses of WeChat's API, for a firewall that lets out nothing else. Raises ApiError."""
    return _networks(client.get("get_api_domain_ip"), "get_api_domain_ip")


def _networks(said: Any, call: str) -> list[Network]:
    listed = said.get("ip_list") if isinstance(said, dict) else None
    if not isinstance(listed, list) or not listed:
        raise ApiError(None, f"{call}: WeChat's answer holds no addresses")
    return sorted_once([_network(one, call) for one in listed])


def _network(one: Any, call: str) -> Network:
    try:
        network = ip_network(str(one).strip(), strict=False)
    except ValueError:
        raise ApiError(None, f"{call}: WeChat's answer holds {str(one)[:50]!r}, which is no address") from None
    if network.prefixlen < _WIDEST_PREFIX[network.version]:
        raise ApiError(None, f"{call}: WeChat's answer holds {network}, which is half the world")
    return network


def sorted_once(networks: list[Network]) -> list[Network]:
    """Return the networks sorted, each once."""
    return sorted(set(networks), key=lambda network: (network.version, network))


def short(network: Network) -> str:
    """Return the network as it is written where one address stands for itself."""
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)
