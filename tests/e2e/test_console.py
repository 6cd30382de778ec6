"""The console behind real nginx and over several workers of real uWSGI."""

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.console.conftest import PASSWORD, readable
from tests.e2e.conftest import Site
from tests.servers import TOKEN, environment, program, wait_for

OPENID = "oFanBehindNginx0000000000000"


class Browser:
    """An operator's, on this machine."""

    def __init__(self, site: Site) -> None:
        self.base = f"http://127.0.0.1:{site.port}"
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Origin"] = self.base

    def log_in(self, password: str = PASSWORD) -> int:
        form = {"operator": "ops", "password": password}
        return self.http.post(f"{self.base}/console/login", data=form, allow_redirects=False, timeout=30).status_code

    def text(self, path: str) -> str:
        response = self.http.get(f"{self.base}/console{path}", timeout=30)
        assert response.status_code == 200, response.text
        return readable(response.text)


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    site = serve(WECHAT_ADMIN_PASSWORD=PASSWORD)
    upgrade = [program("flask"), "db", "upgrade"]
    subprocess.run(
        upgrade, env=environment(FLASK_APP="runserver:application"), cwd=site.folder, check=True, capture_output=True
    )
    return site


def test_an_operator_on_this_machine_gets_in_and_a_stranger_does_not(site: Site) -> None:
    browser = Browser(site)
    assert browser.log_in() == 302
    assert "Messages 0" in browser.text("/")
    passed_on = {"X-Forwarded-For": "203.0.113.1"}
    assert requests.get(f"{browser.base}/console/", headers=passed_on, timeout=10).status_code == 404


def test_wrong_passwords_are_counted_over_all_workers(site: Site) -> None:
    with ThreadPoolExecutor(8) as pool:
        seen = Counter(pool.map(lambda _: Browser(site).log_in("wrong horse"), range(24)))
    assert seen == {403: 5, 429: 19}


def test_figures_and_charts_survive_a_reload(site: Site) -> None:
    browser = Browser(site)
    browser.log_in()
    browser.text("/")
    with Phone(site.url, TOKEN, OPENID) as phone:
        phone.deliver(text_message(OPENID, "天气 北京"))
    before = site.uwsgi.output().count("WSGI app 0")
    os.utime(site.folder / "run" / "reload", (time.time() + 5,) * 2)  # uWSGI looks at whole seconds
    wait_for(lambda: site.uwsgi.output().count("WSGI app 0") >= before + 2, 60, what="both workers to be new")
    for page in ("/", "/"):  # whichever worker answers
        assert re.search(r"Messages 1 Past 5 s 0.* text 1", browser.text(page))
    assert re.search(r"天气.* weather \S+ 1 0 0 [\d.]+ ms", browser.text("/handlers"))
