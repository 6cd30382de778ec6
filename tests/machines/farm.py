"""Several hosts behind one nginx, as docs/scaling.md sets them up, with Redis and Sentinel on machines of their own."""

import re
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from redis import Redis, RedisError

from tests.e2e.conftest import nginx_config
from tests.machines.network import HERE, Machine, make_bridge, make_machine
from tests.servers import ROOT, Server, environment, free_port, listens, program, substituted, uwsgi, wait_for
from tests.wechat_server import WeChatServer, wechat_server

_PASSWORD = "passwordOfRedis"
_DOCUMENT = ROOT / "docs" / "scaling.md"


class Farm(NamedTuple):
    """Where WeChat finds the service, its hosts, its machines with Redis, the master first, and WeChat's API."""

    url: str
    hosts: list[Machine]
    stores: list[Machine]
    api: WeChatServer
    folder: Path

    @property
    def runs(self) -> list[tuple[str, int]]:
        """The runs of slow handlers in the order in which they began: the name they are for, and the process."""
        lines = (line.split() for line in (self.folder / "runs").read_text().splitlines())
        return [(name, int(pid)) for kind, name, pid in lines if kind == "slow"]

    @property
    def master(self) -> str:
        """The name of the machine with Redis' master, as the last machine's sentinel says."""
        with Redis(self.stores[-1].address, 26379, decode_responses=True) as sentinel:
            (seen,) = sentinel.sentinel_masters().values()
        return next(store.name for store in self.stores if store.address == seen["ip"])


@contextmanager
def farm(folder: Path) -> Iterator[Farm]:
    """Run it in ``folder``, within namespaces of ``apart``."""
    make_bridge()
    stores = [make_machine(f"store{number}", 20 + number) for number in (1, 2, 3)]
    hosts = [make_machine(f"host{number}", 10 + number) for number in (1, 2, 3)]
    with ExitStack() as stack:
        api = stack.enter_context(wechat_server(folder, HERE))
        _start_stores(stack, folder, stores)
        sentinels = ",".join(f"{store.address}:26379" for store in stores)
        settings = api.settings | {
            "LOAD_RUNS": str(folder / "runs"),
            "WECHAT_CACHE_URL": f"redis+sentinel://:{_PASSWORD}@{sentinels}/wechat",
            "WECHAT_HANDLERS": "tests.machines.handlers",
        }
        for host in hosts:
            _start_host(stack, folder, host, environment(**settings))
        port = free_port()
        _start_front(stack, folder, hosts, port)
        yield Farm(f"http://127.0.0.1:{port}/wechat", hosts, stores, api, folder)


def _start_stores(stack: ExitStack, folder: Path, stores: list[Machine]) -> None:
    master = stores[0]
    for store in stores:
        inside = folder / store.name
        inside.mkdir()
        conf = _documented("bind", inside / "redis.conf", store, master)
        options = ["--save", "", "--dir", str(inside), "--repl-diskless-sync-delay", "0"]
        options += ["--replicaof", f"{master.address} 6379"] if store is not master else []
        _start(stack, [program("redis-server"), str(conf), *options], inside, store)
    for store in stores:
        conf = _documented("port 26379", folder / store.name / "sentinel.conf", store, master)  # it writes into it
        _start(stack, [program("redis-server"), str(conf), "--sentinel"], conf.parent, store)
    wait_for(lambda: all(_knows_all(store) for store in stores), what="sentinels that know each other")


def _documented(begins: str, conf: Path, store: Machine, master: Machine) -> Path:
    """Write the documentation's configuration that begins so to ``conf``, for ``store``."""
    blocks = re.findall(r"^ *```text\n(.*?)^ *```", _DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (text for text in map(textwrap.dedent, blocks) if text.startswith(begins))
    block = block.replace("bind 10.0.0.21", f"bind {store.address}").replace("10.0.0.21", master.address)
    conf.write_text(block.replace("PASSWORD", _PASSWORD))
    return conf


def _knows_all(store: Machine) -> bool:
    with suppress(RedisError), Redis(store.address, 26379, socket_timeout=1) as sentinel:
        (seen,) = sentinel.sentinel_masters().values()
        return bool(seen["num-other-sentinels"] == 2 and seen["num-slaves"] == 2)
    return False


def _start_host(stack: ExitStack, folder: Path, host: Machine, env: dict[str, str]) -> None:
    inside = folder / host.name
    inside.mkdir()
    conf = nginx_config(inside, 80)
    substituted(inside / "wechat.conf", inside / "wechat.conf", {"listen 127.0.0.1:80 ": f"listen {host.address}:80 "})
    add_behind(inside, HERE)
    socket = inside / "uwsgi.sock"
    stack.enter_context(uwsgi(inside, env, socket_path=socket, prefix=host.prefix))
    _start(stack, [program("nginx"), "-p", str(inside), "-c", str(conf)], inside, host)


def add_behind(folder: Path, front: str) -> None:
    """Add to a machine's configuration in ``folder`` what it needs behind the machine with the address ``front``."""
    balancers = {"192.0.2.10": front, "192.0.2.11": front}
    substituted(ROOT / "nginx" / "real_ip.conf", folder / "shop_real_ip.conf", balancers)
    substituted(ROOT / "nginx" / "behind.conf", folder / "shop_behind.conf", {})


def front_config(folder: Path, addresses: list[str], port: int) -> Path:
    """Write the shipped files for an nginx in front of the machines at ``addresses`` into ``folder``."""
    conf = nginx_config(folder, port)
    site = {f"server 10.0.0.1{number}:80": f"server {address}" for number, address in enumerate(addresses, 1)} | {
        "    listen [::]:80 default_server;\n": "",
        "listen 80 default_server": f"listen 127.0.0.1:{port} default_server",
        "/var/log/nginx/wechat.log": str(folder / "access.log"),
        "/var/log/nginx/error.log": str(folder / "error.log"),
        "/etc/nginx/wechat/*.conf": f"{folder}/tls.conf*",
    }
    substituted(ROOT / "nginx" / "machines.conf", folder / "wechat.conf", site)
    return conf


def _start_front(stack: ExitStack, folder: Path, hosts: list[Machine], port: int) -> None:
    conf = front_config(folder, [f"{host.address}:80" for host in hosts], port)
    server = Server([program("nginx"), "-p", str(folder), "-c", str(conf)], folder, environment())
    stack.callback(server.stop)
    server.wait_until(lambda: listens(port))


def _start(stack: ExitStack, command: list[str], folder: Path, machine: Machine) -> None:
    server = Server(command, folder, environment(), machine.prefix)
    stack.callback(server.stop)
