"""What an account's settings are made of: the environment, answers on a terminal, chance."""

import os
import pty
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from app import config
from tests.servers import AES_KEY, APPID, ROOT, TOKEN, environment, wait_for

COMMAND = [sys.executable, str(ROOT / "deploy" / "settings.py"), str(ROOT / ".env.example")]


def made(folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in environment().items() if name != "WECHAT_TOKEN"} | settings
    command = [*COMMAND, str(folder / "shop.env"), "/wechat/shop"]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def typed(folder: Path, *answers: str) -> str:
    """Answer its questions on a terminal, and return what stood there."""
    env = {name: value for name, value in environment().items() if name != "WECHAT_TOKEN"}
    process, terminal = pty.fork()
    if process == 0:
        os.execve(COMMAND[0], [*COMMAND, str(folder / "shop.env"), "/wechat/shop"], env)
    shown = ""

    def asks(count: int) -> bool:
        nonlocal shown
        shown += os.read(terminal, 4096).decode()
        return shown.count("> ") == count

    for number, answer in enumerate(answers, 1):
        wait_for(partial(asks, number), what=f"question {number}")
        os.write(terminal, f"{answer}\n".encode())
    assert os.waitpid(process, 0)[1] == 0, shown
    os.close(terminal)
    return shown


def read(folder: Path) -> config.Settings:
    return config.load({}, folder / "shop.env")


def test_what_is_not_given_is_random(tmp_path: Path) -> None:
    assert made(tmp_path).stderr == ""
    first = read(tmp_path)
    (tmp_path / "shop.env").unlink()
    made(tmp_path)
    assert re.fullmatch("[0-9a-f]{32}", first.token)
    assert (first.path, len(first.secret_key)) == ("/wechat/shop", 64)
    assert not {first.token, first.secret_key} & {read(tmp_path).token, read(tmp_path).secret_key}
    assert (tmp_path / "shop.env").stat().st_mode & 0o777 == 0o600


def test_every_setting_of_the_environment_is_written_as_it_is(tmp_path: Path) -> None:
    odd = "it's \\ a 'quote' # 你好 $HOME\n\\'"
    made(tmp_path, WECHAT_TOKEN=TOKEN, WECHAT_DEFAULT_REPLY=odd, WECHAT_LOG_FORMAT="json", WECHAT_OF_MY_BOT="own")
    settings = read(tmp_path)
    assert (settings.token, settings.default_reply, settings.log_format) == (TOKEN, odd, "json")
    text = (tmp_path / "shop.env").read_text()
    assert text.endswith("\nWECHAT_OF_MY_BOT=own\n")
    assert text.count("WECHAT_LOG_FORMAT=") == 1


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"WECHAT_TOKEN": "no!"}, "WECHAT_TOKEN is malformed"),
        ({"WECHAT_PATH": "/elsewhere"}, "nginx passes /wechat/shop"),
    ],
)
def test_a_wrong_one_is_named_and_nothing_is_written(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    done = made(tmp_path, **settings)
    assert (done.returncode, named in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "shop.env").write_text("mine")
    assert made(tmp_path).returncode != 0
    assert (tmp_path / "shop.env").read_text() == "mine"


def test_a_terminal_is_asked_until_the_answer_is_well_formed(tmp_path: Path) -> None:
    secret = "0123456789abcdef" * 2
    shown = typed(tmp_path, "no!", TOKEN, APPID, secret, "safe", AES_KEY)
    settings = read(tmp_path)
    assert (settings.token, settings.appid, settings.appsecret) == (TOKEN, APPID, secret)
    assert (settings.encrypt_mode, settings.encoding_aes_key) == ("safe", AES_KEY)
    assert "that is malformed" in shown
    assert not [word for word in (TOKEN, secret, AES_KEY) if word in shown]


def test_enter_alone_takes_what_is_offered(tmp_path: Path) -> None:
    typed(tmp_path, "", "")
    settings = read(tmp_path)
    assert (len(settings.token), settings.appid, settings.encrypt_mode) == (32, "", "normal")
