"""A developer's first minutes: a clone, `make run`, and the phone; nothing is set, and no account is there."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import watched
from tests.browser.test_phone import Phone
from tests.servers import ROOT, Server, environment, free_port, program

_NOT_CLONED = shutil.ignore_patterns(".*", "__pycache__", "instance", "run", "tests", "docs")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is cloned, with what `make` would install."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT, folder, ignore=_NOT_CLONED)
    shutil.copy(ROOT / ".env.example", folder)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def url(clone: Path) -> Iterator[str]:
    port = free_port()
    env = environment(PORT=str(port))
    del env["WECHAT_TOKEN"], env["PYTHONPATH"]
    server = Server([program("make"), "--no-print-directory", "--old-file", ".venv/.service", "run"], clone, env)
    try:
        server.wait_until(lambda: server.output().count("WSGI app 0") == 2)
        assert f"a fan's phone to try it on: http://127.0.0.1:{port}/sandbox/" in server.output()
        below = [{"type": "view", "name": "我的资料", "url": f"http://127.0.0.1:{port}/sandbox/me"}]
        below.append({"type": "click", "name": "今天", "key": "V1001_TODAY"})
        (clone / "menu.json").write_text(json.dumps({"button": [{"name": "更多", "sub_button": below}]}))
        push = [str(clone / ".venv/bin/flask"), "wechat", "menu", "push"]
        subprocess.run(push, cwd=clone, env=env, check=True, capture_output=True)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def test_the_first_minutes_need_nothing_but_make_run(browser: Browser, url: str) -> None:
    with watched(browser) as page:
        page.goto(f"{url}/sandbox/")
        phone = Phone(page)
        phone.more()
        phone.press("关注")
        expect(phone.last).to_contain_text("欢迎关注！")
        phone.say("天气 北京")
        expect(phone.last).to_contain_text("北京：晴，25 度")
        phone.open("更多")
        phone.press("今天")
        expect(phone.last).to_contain_text("今天是 ")
        phone.at.get_by_label("扫码，场景值").fill("poster-7")
        phone.press("已关注者扫码")
        expect(phone.last.locator(".card")).to_have_text(re.compile("七号海报"))
        phone.open("更多")
        with page.context.expect_page() as opened:
            phone.press("我的资料")
        opened.value.get_by_role("button", name="允许 / Allow").click()
        expect(opened.value.locator("body")).to_contain_text("openid: oFan")
