"""The shell's commands that ask WeChat's API, with the sandbox's account: qrcode, message, inbox, sandbox."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from app import create_app
from app.api import get_api
from app.config import Settings, load
from app.sandbox.login import OPENID
from app.store import db
from tests.servers import TOKEN
from tests.wechat_server import serve_app

Run = Callable[..., Result]
CREATE = "/cgi-bin/qrcode/create"


@pytest.fixture
def app(settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The service that plays WeChat itself, on a port, as make run starts it."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        port = stack.enter_context(serve_app(lambda: made))
        made = create_app(
            settings(WECHAT_SANDBOX="1", WECHAT_API_BASE_URL=f"http://127.0.0.1:{port}/sandbox/api", PORT=str(port))
        )
        yield made
        with made.app_context():
            db.engine.dispose()
            get_api().client._http.close()


@pytest.fixture
def run(app: Flask) -> Run:
    return lambda *arguments: app.test_cli_runner().invoke(args=["wechat", *arguments])


def test_a_code_is_made_once_found_listed_and_drawn(run: Run, tmp_path: Path) -> None:
    made = run("qrcode", "create", "poster-7")
    assert made.stdout.startswith("'poster-7'  permanent  http://weixin.qq.com/q/")
    assert run("qrcode", "create", "poster-7").stdout == made.stdout
    temporary = run("qrcode", "create", "7", "--int", "--expire", "600")
    assert temporary.stdout.startswith("7  until ")
    listed = run("qrcode", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["7", "'poster-7'"]
    assert listed[1].endswith("scans 0  follows 0")
    assert run("qrcode", "image", "poster-7", "code.png").stdout == "wrote code.png\n"
    assert run("qrcode", "image", "7", "code.svg", "--int").exit_code == 0
    assert (tmp_path / "code.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "code.svg").read_text()
    assert "█" in run("qrcode", "show", "poster-7").stdout
    assert run("sandbox", "calls").stdout.count(CREATE) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", "0", "--int"), "scene is 0; expected 1 to 100000"),
        (("create", "x" * 65), "expected 1 to 64"),
        (("create", "seven", "--int"), "expected a whole number"),
        (("create", "7", "--expire", "2592001"), "expire_seconds is 2592001"),
        (("show", "nothing"), "flask wechat qrcode list"),
        (("image", "nothing", "x.png"), "flask wechat qrcode list"),
        (("image", "nothing", "x.jpg"), ".png or .svg"),
    ],
)
def test_a_wrong_argument_is_named_before_any_call(arguments: tuple[str, ...], says: str, run: Run) -> None:
    result = run("qrcode", *arguments)
    assert result.exit_code == 1
    assert says in result.stderr
    assert run("sandbox", "calls").stdout == ""


def test_a_message_reaches_the_fan_who_wrote(run: Run) -> None:
    refused = run("message", "oSomebodyElse", "晚到的消息")
    assert refused.exit_code == 1
    assert "45015" in refused.stderr
    run("say", "hi", "--url", "http://127.0.0.1:1/wechat")  # WeChat knows of it, whoever answers
    assert run("message", OPENID, "晚到的消息").stdout == "sent 1 message\n"
    assert run("inbox").stdout == "晚到的消息\n"
    assert run("inbox", "--as", "oSomebodyElse").stdout == ""


def test_a_picture_is_uploaded_and_sent(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n picture")
    run("event", "click", "--url", "http://127.0.0.1:1/wechat")
    assert run("message", OPENID, "--image", "x.png").stdout == "sent 1 message\n"
    assert run("inbox").stdout.startswith("[image] ")
    assert "nowhere.png" in run("message", OPENID, "--image", "nowhere.png").stderr
    assert "expected one of TEXT" in run("message", OPENID).stderr


def test_the_sandbox_plays_faults_and_says_what_it_was_asked(run: Run) -> None:
    run("sandbox", "fail", CREATE, "45009", "--times", "1")
    assert "midnight in Beijing" in run("qrcode", "create", "a").stderr
    calls = run("sandbox", "calls").stdout
    assert "45009" in calls
    assert '"secret": "***"' in calls
    run("sandbox", "fail", "*", "--html")
    assert "no JSON" in run("menu", "pull", "-").stderr
    run("sandbox", "heal")
    assert "WeChat has no menu" in run("menu", "pull", "-").stderr
    run("sandbox", "revoke-token")
    assert "WeChat has no menu" in run("menu", "pull", "-").stderr
    assert run("sandbox", "calls").stdout.count("40001") == 1
    assert run("sandbox", "fail", "/x", "45009").exit_code == run("sandbox", "fail", "*").exit_code == 2


def test_every_command_says_that_wechat_is_played_locally(run: Run) -> None:
    for arguments in (("qrcode", "list"), ("menu", "history"), ("message", OPENID, "hi")):
        assert "-- WeChat is played locally" in run(*arguments).stderr


def test_the_shell_has_the_sandbox_until_an_account_is_named(tmp_path: Path) -> None:
    none = {"WECHAT_TOKEN": TOKEN}
    assert load(none, tmp_path / "no.env", development=True).sandbox
    assert not load(none, tmp_path / "no.env").sandbox
    for name, value in (("WECHAT_APPID", f"wx{'1' * 16}"), ("WECHAT_SANDBOX", "0")):
        assert not load({**none, name: value}, tmp_path / "no.env", development=True).sandbox


def test_two_services_do_not_share_the_sandboxs_secret(tmp_path: Path) -> None:
    secrets = {
        load({"WECHAT_TOKEN": token}, tmp_path / "no.env", development=True).appsecret for token in ("abc", "abd")
    }
    assert len(secrets) == 2
