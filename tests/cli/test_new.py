"""``flask wechat new``: what it writes runs, tests itself, and is what the documentation shows."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT, environment


def flask(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flask", "--app", "runserver", "wechat", *words]
    env = environment(**settings)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_a_new_bot_is_a_table_with_tests_that_pass_and_can_fail(tmp_path: Path) -> None:
    bot = tmp_path / "shopbot"
    done = flask(tmp_path, "new", str(bot))
    assert done.returncode == 0, done.stderr
    assert f"pip install --editable {bot}" in done.stdout
    assert "mybot" not in "".join(path.read_text() for path in bot.rglob("*") if path.is_file())
    env = environment(PYTHONPATH=f"{ROOT}:{bot}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(bot)]
    tested = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "4 passed" in tested.stdout, tested.stdout + tested.stderr
    handlers = bot / "shopbot" / "handlers.py"
    handlers.write_text(handlers.read_text().replace("晴", "雨"))
    tested = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "1 failed, 3 passed" in tested.stdout
    table = flask(tmp_path, "handlers", WECHAT_HANDLERS="shopbot.handlers", PYTHONPATH=f"{ROOT}:{bot}")
    assert "('text', command('天气 <city> [days:int]'))  weather  (shopbot/handlers.py:" in table.stdout


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("../my-bot", "cannot be the name"),
        ("../json", "cannot be the name"),
        ("../app", "cannot be the name"),
        ("../class", "cannot be the name"),
        (str(ROOT / "mybot"), "inside this repository"),
        ("./there", "is there already"),
    ],
)
def test_what_cannot_be_a_bot_is_refused_and_nothing_written(tmp_path: Path, folder: str, said: str) -> None:
    inner = tmp_path / "inner"
    (inner / "there").mkdir(parents=True)
    done = flask(inner, "new", folder)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*.py")) == []
    assert not (ROOT / "mybot").exists()
