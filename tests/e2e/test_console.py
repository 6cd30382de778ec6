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


def status_of(site: Site, body: str) -> int:
    return requests.post(site.url, data=body.encode() * 2, timeout=10).status_code


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


def test_a_form_may_be_longer_than_any_message_of_wechat(site: Site) -> None:
    browser = Browser(site)
    browser.log_in()
    page = browser.http.get(f"{browser.base}/console/messages", timeout=30).text
    (csrf,) = set(re.findall(r'name="csrf" value="(\w+)"', page))
    form = {"csrf": csrf, "openid": OPENID, "text": "好" * 16_000}  # nine bytes each, as a browser sends them
    response = browser.http.post(f"{browser.base}/console/messages/budget", data=form, timeout=30)
    assert response.status_code == 200, response.text
    assert status_of(site, "好" * 16_000) == 413  # the callback takes no more than before


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
