import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

import log
from tests.servers import ROOT, environment

SECRETS = ("tokenOfTheAccount", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
logger = logging.getLogger("tests.log")


def written(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().err


def test_a_line_has_time_level_name_and_fields(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO", "text")
    logger.info("message", extra={"fields": {"type": "text", "event": None, "ms": 1.5, "note": 'a "b"\nc'}})
    line = written(capfd)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4} INFO tests\.log message ", line)
    assert line.endswith(' type=text event=- ms=1.5 note="a \\"b\\"\\nc"\n')


def test_a_json_line_has_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO", "json")
    logger.info("hello %s", "你好", extra={"fields": {"type": "text", "event": None}})
    line = json.loads(written(capfd))
    assert {key: line[key] for key in ("level", "logger", "message", "type", "event")} == {
        "level": "INFO",
        "logger": "tests.log",
        "message": "hello 你好",
        "type": "text",
        "event": None,
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_line_of_a_message_is_like_any_other(capfd: pytest.CaptureFixture[str], log_format: str) -> None:
    log.configure("INFO", log_format, SECRETS)
    fields = {"type": "text", "event": None, "ms": 1.5, "note": f'a "b" {SECRETS[0]}'}
    log.message(fields)
    logging.getLogger("wechat").info("message", extra={"fields": fields})
    quick, slow = (re.sub(r"\d\d\.\d{3}", "", line) for line in written(capfd).splitlines())
    assert quick == slow
    assert "***" in quick


def test_the_line_of_a_message_is_not_written_above_info(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("WARNING", "text")
    log.message({"type": "text"})
    assert written(capfd) == ""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_are_masked_wherever_they_stand(capfd: pytest.CaptureFixture[str], log_format: str) -> None:
    log.configure("INFO", log_format, SECRETS)
    try:
        query = "access_token=AT1&secret=S1&sentinel_password=P1&signature=G1&openid=O1"
        raise ValueError(f"https://x/?{query} {SECRETS[1]}")
    except ValueError:
        logger.exception("the token is %s", SECRETS[0], extra={"fields": {"reason": f"<{SECRETS[0]}>"}})
    text = written(capfd)
    assert not any(secret in text for secret in (*SECRETS, "AT1", "S1", "P1", "G1", "O1"))
    assert text.count("***") >= 7
    assert "ValueError" in text


def test_a_secret_inside_a_longer_word_is_not_taken_for_one(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO", "text", ("abc",))
    logger.info("abcdef abc")
    assert written(capfd).endswith(" abcdef ***\n")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_secret_that_needs_quotes_is_masked_too(capfd: pytest.CaptureFixture[str], log_format: str) -> None:
    secret = 'p"ss\\word1'
    log.configure("INFO", log_format, (secret,))
    logger.info("is %s", secret, extra={"fields": {"reason": f"it is {secret} indeed"}})
    text = written(capfd)
    assert "word1" not in text
    assert text.count("***") == 2


def test_an_exception_cannot_forge_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO", "text")
    try:
        raise ValueError("one\n2026-01-01 INFO forged")
    except ValueError:
        logger.exception("failed")
    assert [line[:4] for line in written(capfd).splitlines()[1:]] == ["    "] * 5


def test_a_message_cannot_forge_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO", "text")
    logger.info("one\r\n2026-01-01 INFO forged")
    assert written(capfd).count("\n") == 1


def test_the_level_is_kept_and_configuring_again_replaces(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO", "text")
    log.configure("WARNING", "text")
    logger.info("quiet")
    logger.warning("loud")
    assert written(capfd).count("loud") == 1


@pytest.mark.parametrize(
    ("openid", "shown"), [("oABCDEFGHIJKLMNOPQRSTUVWXYZ12", "oABC***YZ12"), ("short", "sh***"), ("", "***")]
)
def test_an_openid_is_masked(openid: str, shown: str) -> None:
    assert log.masked(openid) == shown


def test_no_line_of_several_processes_is_lost_or_mixed(tmp_path: Path) -> None:
    program = (
        "import log, logging, sys; log.configure('INFO', 'text'); logger = logging.getLogger('p')\n"
        "for number in range(2000): logger.info('%s %d %s', sys.argv[1], number, 'x' * 300)"
    )
    output = tmp_path / "log"
    with output.open("ab") as stream:
        processes = [
            subprocess.Popen([sys.executable, "-c", program, name], stderr=stream, env=environment(), cwd=ROOT)
            for name in "ABCD"
        ]
        assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    lines = output.read_text().splitlines()
    assert all(re.fullmatch(r"\S+ INFO p [ABCD] \d+ x{300}", line) for line in lines)
    assert {tuple(line.split()[3:5]) for line in lines} == {(name, str(n)) for name in "ABCD" for n in range(2000)}


def test_a_full_disk_costs_the_line_and_not_the_answer() -> None:
    program = (
        "import log, logging; log.configure('INFO', 'text')\n"
        "logging.getLogger('p').info('lost'); log.message({'type': 'text'}); print('went on')"
    )
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stderr=full,
            stdout=subprocess.PIPE,
            env=environment(),
            cwd=ROOT,
            check=False,
        )
    assert done.stdout == b"went on\n"


def test_a_log_file_that_was_renamed_is_left_within_a_second(tmp_path: Path) -> None:
    program = (
        "import log, logging, os, threading; log.configure('INFO', 'text'); logger = logging.getLogger('p')\n"
        "logger.info('one'); os.rename('wechat.log', 'wechat.log.1'); logger.info('two')\n"
        "threading.Event().wait(log._FOLLOW_SECONDS); logger.info('three'); os.write(2, b'four')"
    )
    env = environment(LOGS_DIRECTORY=str(tmp_path))
    subprocess.run([sys.executable, "-c", program], env=env, cwd=tmp_path, check=True)
    words = [re.findall("one|two|three|four", (tmp_path / name).read_text()) for name in ("wechat.log.1", "wechat.log")]
    assert words == [["one", "two"], ["three", "four"]]
    assert (tmp_path / "wechat.log").stat().st_mode & 0o777 == 0o600


SLOW_TO_OPEN = """
import log, os, threading
log.configure("INFO", "text")
log.message({"word": "one"})
os.rename("wechat.log", "wechat.log.1")
threading.Event().wait(log._FOLLOW_SECONDS)
opening, go_on, real = threading.Event(), threading.Event(), os.open
def slow(*arguments):
    opening.set()
    go_on.wait(10)
    return real(*arguments)
os.open = slow
first = threading.Thread(target=log.message, args=({"word": "two"},))
first.start()
opening.wait(10)
second = threading.Thread(target=log.message, args=({"word": "three"},))
second.start()
second.join(0.3)
go_on.set()
first.join()
second.join()
"""


def test_nobody_writes_to_the_renamed_log_while_another_opens_the_new_one(tmp_path: Path) -> None:
    env = environment(LOGS_DIRECTORY=str(tmp_path))
    subprocess.run([sys.executable, "-c", SLOW_TO_OPEN], env=env, cwd=tmp_path, check=True)
    words = [re.findall("one|two|three", (tmp_path / name).read_text()) for name in ("wechat.log.1", "wechat.log")]
    assert [words[0], sorted(words[1])] == [["one"], ["three", "two"]]


def test_a_log_file_that_cannot_be_opened_leaves_the_lines_where_they_were(tmp_path: Path) -> None:
    program = "import log, logging; log.configure('INFO', 'text'); logging.getLogger('p').info('one')"
    env = environment(LOGS_DIRECTORY=str(tmp_path / "missing"))
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, env=env, cwd=ROOT, check=True)
    assert b" one\n" in done.stderr


# Of a terminal: CSI and OSC in 7 and 8 bits, backspace, CR, NEL; then bidirectional marks, and line ends of Unicode.
HIDDEN = "\x1b\x9b\x9d\x07\x08\r\x7f\x80\x85\x9f\u061c\u200e\u200f\u202a\u202e\u2066\u2069\u2028\u2029"


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("character", HIDDEN, ids=ascii)
def test_nothing_in_a_line_commands_a_terminal_or_turns_its_text(
    character: str, log_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log.configure("INFO", log_format)
    try:
        raise ValueError(f"c{character}d")
    except ValueError:
        logger.exception("a%sb", character, extra={"fields": {"said": character, "in words": f"x {character} y"}})
    log.message({"said": f"e{character}f"})
    text = written(capfd)
    assert character not in text
    if log_format == "json":
        first, second = map(json.loads, text.splitlines())
        assert (first["said"], second["said"]) == (character, f"e{character}f")


def test_half_a_character_is_shown_too() -> None:
    assert log.visible("a\ud83d") == "a\\ud83d"


def test_chinese_and_emoji_stay_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("INFO", "text")
    logger.info("你好 👨\u200d👩\u200d👧 é عربي")
    assert written(capfd).endswith("你好 👨\u200d👩\u200d👧 é عربي\n")
