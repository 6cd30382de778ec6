"""``flask wechat dev``, as somebody has it in their shell."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from app.sandbox.login import OPENID
from app.sandbox.messages import text_message
from app.sandbox.phone import Phone
from tests.servers import ROOT, TOKEN, Server, environment, free_port, listens, wait_for

_HANDLERS = """
from mybot.words import answer

HANDLERS = {"text": answer}
"""
_WORDS = """
def answer(message):
    message.session["count"] = message.session.get("count", 0) + 1
    return f"%s {message.session['count']}"
"""


class Bot:
    """A package that somebody works on, and the fan who writes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "mybot"
        self.folder.mkdir()
        self.save("__init__", "")
        self.save("handlers", _HANDLERS)
        self.save("words", _WORDS % "one")
        self.port = free_port()
        env = environment(PORT=str(self.port), WECHAT_HANDLERS="mybot.handlers", PYTHONPATH=f"{ROOT}:{folder}")
        del env["PYTHONDONTWRITEBYTECODE"]
        command = [sys.executable, "-m", "flask", "--app", "runserver", "wechat", "dev"]
        self.server = Server(command, folder, env)
        self.server.wait_until(lambda: listens(self.port))

    def save(self, name: str, text: str) -> None:
        (self.folder / f"{name}.py").write_text(text)

    def says(self) -> str:
        with Phone(f"http://127.0.0.1:{self.port}/wechat", TOKEN, OPENID) as phone:
            return phone.deliver(text_message(OPENID, "hi")).shown

    def screen(self) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}/sandbox/fans/{OPENID}") as page:
            return str(page.read().decode())


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[Bot]:
    opened = Bot(tmp_path)
    yield opened
    opened.server.stop()


def begins(bot: Bot, words: str) -> Callable[[], bool]:
    return lambda: bot.says().startswith(words)


def test_what_is_saved_answers_and_what_is_remembered_stays(bot: Bot) -> None:
    assert bot.says() == "one 1"
    saved = (bot.folder / "words.py").stat()
    bot.save("words", _WORDS % "two")  # a module beside the table's, of the same size, and within the same second
    os.utime(bot.folder / "words.py", ns=(saved.st_atime_ns, saved.st_mtime_ns // 10**9 * 10**9 + 1))
    wait_for(begins(bot, "two"), 2)
    counted = int(bot.says().split()[1])
    assert counted > 2
    bot.save("handlers", 'HANDLERS = {"text": lambda message: f"three {message.session[\'count\']}"}')
    wait_for(begins(bot, "three"), 2)
    assert int(bot.says().split()[1]) >= counted


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("HANDLERS = {", "SyntaxError: &#39;{&#39; was never closed (handlers.py, line 1)"),
        ("import no_such_package", "No module named &#39;no_such_package&#39;"),
        ('HANDLERS = {"txet": print}', "unknown message type"),
        ("", "has no HANDLERS"),
    ],
)
def test_what_is_broken_is_said_and_the_table_before_goes_on(bot: Bot, broken: str, said: str) -> None:
    bot.says()
    bot.save("handlers", broken)
    wait_for(lambda: said in bot.screen(), 2, what=said)
    assert "the handlers as they were before go on" in bot.server.output()
    assert bot.says().startswith("one")
    bot.save("handlers", _HANDLERS + "\n")
    wait_for(lambda: 'role="alert"' not in bot.screen(), 2)
    assert bot.says().startswith("one")
