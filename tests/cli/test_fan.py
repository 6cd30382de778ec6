"""The shell's commands, delivered to a callback that runs behind a real development server."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from app import create_app
from app.config import Settings
from app.sandbox.messages import event_message
from app.sandbox.phone import FAILURE_NOTICE
from tests.actors import Account
from tests.servers import AES_KEY, APPID, ROOT, TOKEN, Server, environment, free_port, listens, program

Run = Callable[..., Result]
SEALED = {"WECHAT_APPID": APPID, "WECHAT_ENCODING_AES_KEY": AES_KEY, "WECHAT_ENCRYPT_MODE": "compatible"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port, folder = free_port(), tmp_path_factory.mktemp("development")
    env = environment(PORT=str(port), **SEALED)
    server = Server([program("python"), str(ROOT / "runserver.py")], folder, env)
    try:
        server.wait_until(lambda: listens(port))
        yield port
    finally:
        server.stop()


@pytest.fixture
def app(settings: Callable[..., Settings]) -> Flask:
    return create_app(settings(**SEALED))


@pytest.fixture
def run(app: Flask, port: int) -> Run:
    def invoke(*arguments: str) -> Result:
        url = [] if arguments[0] == "handlers" or "--url" in arguments else ["--url", f"http://127.0.0.1:{port}/wechat"]
        return app.test_cli_runner().invoke(args=["wechat", *arguments, *url])

    return invoke


@pytest.mark.parametrize("mode", ["normal", "compatible", "safe"])
def test_say_prints_the_reply_the_deliveries_and_the_time(run: Run, mode: str) -> None:
    result = run("say", "天气 北京", "--mode", mode)
    assert result.exit_code == 0
    assert result.stdout == "北京：晴，25 度\n"
    assert result.stderr.startswith("-- 1 delivery, ")
    assert result.stderr.endswith(" ms\n")


def test_say_prints_nothing_that_a_terminal_obeys(run: Run) -> None:
    shown = run("say", "a\x9b31m\u202eb\u2028c\x85d\n第二行").stdout
    assert "a\\u009b31m\\u202eb\\u2028c\\u0085d\n第二行\n" in shown


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("event", "subscribe", "--scene", "poster-7"), "[图文] 七号海报 https://example.com/poster-7"),
        (("event", "subscribe"), "欢迎关注！"),
        (("event", "click", "--key", "V1"), "(silence)"),
    ],
)
def test_event_sends_an_event(run: Run, arguments: tuple[str, ...], shown: str) -> None:
    assert run(*arguments).stdout == f"{shown}\n"


def test_send_sends_a_recorded_message_again_as_a_new_one(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "message.xml"
    file.write_text(event_message("oOldFan", "subscribe", scene="poster-9"), encoding="utf-8")
    assert [run("send", str(file)).stdout, run("send", str(file), "--as", "oNewFan").stdout] == [
        "欢迎关注！你来自 poster-9\n"
    ] * 2


@pytest.mark.parametrize("content", [b"hello", b"<xml><MsgType>text</MsgType></xml>", b"\xff\xfe"])
def test_a_file_that_is_no_message_is_named(run: Run, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "message.xml"
    file.write_bytes(content)
    result = run("send", str(file))
    assert (result.exit_code, result.stderr.startswith("Error: ")) == (1, True)


def test_as_makes_it_another_fan(run: Run) -> None:
    assert run("say", "猜数字", "--as", "oFirst").exit_code == 0
    assert run("say", "101", "--as", "oSecond").stdout == "101\n"
    assert run("say", "101", "--as", "oFirst").stdout == "大了\n"


def test_a_failure_shows_what_the_fan_would_see(run: Run) -> None:
    result = run("say", "hi", "--url", f"http://127.0.0.1:{free_port()}/wechat")
    assert (result.exit_code, result.stdout) == (1, f"{FAILURE_NOTICE}\n")
    assert "3 deliveries" in result.stderr
    assert "are the service and nginx running" in result.stderr


def test_a_mode_without_its_key_is_named(settings: Callable[..., Settings], port: int) -> None:
    plain = create_app(settings())
    result = plain.test_cli_runner().invoke(args=["wechat", "say", "hi", "--mode", "safe"])
    assert (result.exit_code, "needs WECHAT_APPID and WECHAT_ENCODING_AES_KEY" in result.stderr) == (1, True)


def test_handlers_prints_the_table(run: Run) -> None:
    lines = run("handlers").stdout.splitlines()
    assert any(line.startswith("('text', '帮助')") and "show_help" in line for line in lines)
    assert any("re.compile('天气\\\\s*(?P<city>\\\\S+)')" in line and "weather" in line for line in lines)
    assert lines[-1].startswith("MIDDLEWARE")
    assert "(app/handlers/samples.py:" in lines[-1]


def test_a_table_without_rows_prints_nothing(account: Callable[..., Account]) -> None:
    assert account({}).app.test_cli_runner().invoke(args=["wechat", "handlers"]).output == ""


@pytest.mark.parametrize("command", ["run", "wechat"])
def test_wrong_settings_are_shown_without_a_traceback(command: str, tmp_path: Path) -> None:
    env = environment(WECHAT_TOKEN="no!", FLASK_APP="runserver:application")
    done = subprocess.run(
        [program("flask"), command, *(["say", "hi"] if command == "wechat" else [])],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "WECHAT_TOKEN is malformed" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_are_the_documented_ones(app: Flask) -> None:
    group = app.cli.commands["wechat"]
    shown = CliRunner().invoke(group, ["--help"]).output
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("say", "event", "send", "handlers"):
        assert f"  {command} " in shown
        assert f"flask wechat {command}" in readme


def test_the_token_is_the_settings(app: Flask) -> None:
    assert app.config["WECHAT_TOKEN"] == TOKEN
