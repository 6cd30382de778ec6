"""``flask wechat doctor``: its lines, its JSON, its exit status, and a service that cannot start."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from app import create_app
from app.api import get_api
from app.config import Settings
from app.sandbox.wechat import WeChat
from app.store import db
from tests.servers import environment, program
from tests.wechat_server import serve_app

Run = Callable[..., Result]
GOOD_TOKEN = "k" * 32


@pytest.fixture
def app(settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The service that plays WeChat itself, on a port, as make run starts it."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        port = stack.enter_context(serve_app(lambda: made))
        url = f"http://127.0.0.1:{port}"
        sandbox = {"WECHAT_SANDBOX": "1", "WECHAT_API_BASE_URL": f"{url}/sandbox/api", "WECHAT_PUBLIC_URL": url}
        made = create_app(settings(**sandbox, WECHAT_TOKEN=GOOD_TOKEN, PORT=str(port)))
        yield made
        with made.app_context():
            db.engine.dispose()
            get_api().client._http.close()


@pytest.fixture
def doctor(app: Flask) -> Run:
    return lambda *arguments: app.test_cli_runner().invoke(args=["wechat", "doctor", *arguments])


def test_the_sandbox_is_well_but_for_being_one(doctor: Run) -> None:
    result = doctor("--nginx", "none.conf")
    lines = {line[2:].split("  ")[0]: line[0] for line in result.stdout.splitlines() if line[0] != " "}
    unwell = {name for name, mark in lines.items() if mark != "✓"}
    assert unwell <= {"sandbox", "nginx", "uWSGI"}  # a uWSGI may run beside the shipped ini
    expected = {"settings", "token", "database", "cache", "clock", "signed request", "unsigned request"}
    assert expected | {"inner pages", "access token", "menus", "quota", "addresses"} <= set(lines)
    assert result.exit_code == 1
    assert "  -> where real fans are answered: set WECHAT_APPID" in result.stdout


def test_json_has_the_same_lines_and_the_status_says_the_worst(doctor: Run, app: Flask, tmp_path: Path) -> None:
    findings = json.loads(doctor("--json", "--nginx", "none.conf").stdout)
    assert {tuple(finding) for finding in findings} == {("name", "status", "found", "todo")}
    assert {finding["status"] for finding in findings} == {"ok", "warning"}
    wechat = WeChat(app.config["WECHAT_APPID"], app.config["WECHAT_APPSECRET"], tmp_path / "instance" / "sandbox.db")
    wechat.fail("/cgi-bin/getcallbackip", errcode=40164)
    result = doctor("--json")
    assert result.exit_code == 2
    assert {"name": "API", "status": "wrong"}.items() <= json.loads(result.stdout)[-1].items()


def test_nothing_secret_is_shown(doctor: Run, app: Flask) -> None:
    wechat = WeChat(app.config["WECHAT_APPID"], app.config["WECHAT_APPSECRET"], Path("instance/sandbox.db"))
    doctor()
    with app.app_context():
        token = get_api().client.access_token
    said = doctor().output + doctor("--json").output
    wechat.fail("*", errcode=40001)
    said += doctor("--url", "http://127.0.0.1:1/wechat").output
    for secret in (GOOD_TOKEN, app.config["WECHAT_APPSECRET"], token):
        assert secret not in said
    assert "signature=" not in said


def test_another_address_can_be_named(doctor: Run) -> None:
    result = doctor("--url", "http://127.0.0.1:1/wechat")
    assert result.exit_code == 2
    assert "✗ signed request     127.0.0.1:1 cannot be reached" in result.stdout


def in_shell(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [program("flask"), "--app", "app", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(**settings), capture_output=True, text=True)


def test_settings_that_stop_the_start_are_lines_too(tmp_path: Path) -> None:
    wrong = {"WECHAT_TOKEN": "s3cret!!", "WECHAT_ENCRYPT_MODE": "odd"}
    result = in_shell(tmp_path, "wechat", "doctor", "--json", **wrong)
    findings = json.loads(result.stdout)
    assert [(finding["name"], finding["status"]) for finding in findings] == [("settings", "wrong")] * 2
    assert "got 'odd'; expected normal" in findings[1]["found"]
    assert result.returncode == 2
    assert "s3cret!!" not in result.stdout + result.stderr
    table = in_shell(tmp_path, "wechat", "doctor", WECHAT_HANDLERS="no.such.module")
    assert table.returncode == 2
    assert "✗ settings           WECHAT_HANDLERS=no.such.module: no such module" in table.stdout


@pytest.mark.parametrize("command", [("wechat", "menu", "history"), ("db", "upgrade"), ("run",), ("nonsense",)])
def test_any_other_command_of_such_a_service_says_why_and_fails(command: tuple[str, ...], tmp_path: Path) -> None:
    result = in_shell(tmp_path, *command, WECHAT_TOKEN="x")
    assert result.returncode == 1
    assert "WECHAT_TOKEN is malformed" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_installed_commands_way_in_is_the_same(tmp_path: Path) -> None:
    command = [program("python"), "-m", "flask", "wechat", "doctor"]
    env = environment(FLASK_APP="runserver", WECHAT_TOKEN="x")
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (result.returncode, result.stdout.count("✗ settings")) == (2, 1)
