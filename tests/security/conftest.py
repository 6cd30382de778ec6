"""One account behind nginx, both from the shipped files, at the paths that are shipped."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from app.callback.seal import Seal
from app.sandbox.phone import Phone
from tests.conftest import SEALED
from tests.e2e.conftest import nginx_config
from tests.servers import AES_KEY, APPID, ROOT, TOKEN, Server, environment, free_port, listens, program, substituted
from tests.servers import uwsgi as uwsgi_server

PATH = "/wechat/shop"
OPENID = "oFanOfTheShop000000000000000"


class Site(NamedTuple):
    """A running account: nginx in front on ``port``, uWSGI behind it, what both write in ``folder``."""

    port: int
    nginx: Server
    uwsgi: Server
    folder: Path
    mode: str

    def phone(self, openid: str = OPENID, token: str = TOKEN) -> Phone:
        url = f"http://127.0.0.1:{self.port}{PATH}"
        return Phone(url, token, openid, self.mode, Seal(AES_KEY, APPID))

    @property
    def asked(self) -> int:
        """How many requests the application has got."""
        return self.uwsgi.output().count("seen {")

    @property
    def runs(self) -> list[str]:
        """What the handlers of tests.load.handlers have been asked, one line a run."""
        path = self.folder / "runs"
        return path.read_text().splitlines() if path.exists() else []


@contextmanager
def site_in(
    folder: Path, mode: str = "normal", *, allowed: str = "", places: int = 0, **settings: str
) -> Iterator[Site]:
    """Run the account ``shop`` in ``folder``, its application wrapped so that it says what it was told.

    With ``allowed``, only this address may come to the callback; with ``places``, nginx lets so many in at once.
    """
    sealed = SEALED if mode != "normal" else {}
    own = {"WECHAT_HANDLERS": "tests.load.handlers", "LOAD_RUNS": str(folder / "runs"), "WECHAT_PATH": PATH}
    env = environment(**{"WECHAT_ENCRYPT_MODE": mode, **sealed, **own, **settings})
    changes = {"module = runserver:application": "module = tests.security.seen:application"}
    with ExitStack() as stack:
        server = stack.enter_context(uwsgi_server(folder, env, socket_path=folder / "uwsgi.sock", replacements=changes))
        port = free_port()
        conf = nginx_config(folder, port)
        account = {"/run/wechat/shop/uwsgi.sock": str(folder / "uwsgi.sock"), "/etc/nginx/wechat/": f"{folder}/"}
        substituted(ROOT / "nginx" / "account.conf", folder / "shop.conf", account)
        if allowed:
            (folder / "shop.d").mkdir()
            (folder / "shop.d" / "wechat-ips.conf").write_text(f"allow {allowed};\ndeny all;\n")
        if places:
            shared = folder / "wechat.conf"
            shared.write_text(re.sub(r"limit_conn (\w+) \d+;", rf"limit_conn \1 {places};", shared.read_text()))
        nginx = Server([program("nginx"), "-p", str(folder), "-c", str(conf)], folder, env)
        stack.callback(nginx.stop)
        nginx.wait_until(lambda: listens(port))
        yield Site(port, nginx, server, folder, mode)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return the account of a whole test file, in normal mode."""
    with site_in(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Return a function that starts an account of one test: ``serve("safe", WECHAT_CACHE_URL=...)``."""
    with ExitStack() as stack:
        yield lambda *args, **settings: stack.enter_context(site_in(tmp_path, *args, **settings))
