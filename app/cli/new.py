"""``flask wechat new``: a bot of one's own, in a folder beside this repository."""

import keyword
import sys
from pathlib import Path

import click

from app.cli import echo, failure

_CLONE = Path(__file__).parents[2]
_FILES = {
    "mybot/__init__.py": "",
    "mybot/handlers.py": '''"""What the account answers: one row of HANDLERS for each thing."""

from app.table.commands import command, help_from


def echo(message):
    return message.content


def weather(message):
    """查询城市天气"""
    return f"{message.match['city']}：晴，{message.match['days'] or 1} 天"


def welcome(message):
    return "欢迎关注！回复“帮助”看看我能做什么"


HANDLERS = {
    "text": echo,
    ("text", command("天气 <city> [days:int]")): weather,
    ("event", "subscribe"): welcome,
    "*": lambda message: None,
}
HANDLERS["text", "帮助"] = help_from(HANDLERS)
''',
    "tests/conftest.py": """from app.testing import fixture

from mybot import handlers

fan = fixture(handlers)
""",
    "tests/test_handlers.py": """def test_an_echo(fan):
    assert fan.says("你好") == "你好"


def test_the_weather(fan):
    assert fan.says("天气 北京 3") == "北京：晴，3 天"


def test_the_help_lists_the_commands(fan):
    assert "天气 <city> [days]" in fan.says("帮助")


def test_who_follows_is_welcomed(fan):
    assert fan.follows().startswith("欢迎关注！")
""",
    "pyproject.toml": """[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "mybot"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = []

[tool.setuptools]
packages = ["mybot"]

[tool.pytest.ini_options]
testpaths = ["tests"]
""",
    "README.md": """# mybot

Handlers for a WeChat Official Account, run by wechatPlatform. From its folder, CLONE:

```sh
.venv/bin/pip install --editable FOLDER
WECHAT_HANDLERS=mybot.handlers make dev                     # a fan's phone at http://127.0.0.1:8111/sandbox/
make .venv/.dev && .venv/bin/python -m pytest FOLDER        # the tests
sudo make install ACCOUNT=shop BOT=FOLDER WECHAT_HANDLERS=mybot.handlers
```
""",
    ".gitignore": "__pycache__/\n*.egg-info/\nbuild/\n.pytest_cache/\n",
}


@click.command()
@click.argument("folder")
def new(folder: str) -> None:
    """Write a bot of your own into FOLDER: handlers, tests, README. A bare name is beside this repository."""
    path = (Path(folder) if Path(folder).name != folder else _CLONE.parent / folder).absolute()
    name = path.name
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name) or _is_taken(name):
        raise failure(f"{name!r} cannot be the name of your package; expected a word such as mybot that no module has")
    if _CLONE in path.resolve().parents:
        raise failure(f"{path} is inside this repository; expected a folder outside, such as {_CLONE.parent / name}")
    if path.exists():
        raise failure(f"{path} is there already")
    for file, text in _FILES.items():
        target = path / file.replace("mybot", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        written = text.replace("mybot", name).replace("FOLDER", str(path)).replace("CLONE", str(_CLONE))
        target.write_text(written, encoding="utf-8")
    echo(f"wrote {path}; its README.md says what is next:")
    echo(f"  .venv/bin/pip install --editable {path}")
    echo(f"  WECHAT_HANDLERS={name}.handlers make dev")


def _is_taken(name: str) -> bool:
    return name in sys.stdlib_module_names or name in sys.modules or (_CLONE / f"{name}.py").exists()
