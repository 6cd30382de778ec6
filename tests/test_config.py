import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from werkzeug.security import check_password_hash, generate_password_hash

from app import config
from app.errors import ConfigError
from tests.servers import AES_KEY, APPID, TOKEN

Load = Callable[..., config.Settings]


def problems(settings: Load, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        settings(**environ)
    assert all(problem in str(raised.value) for problem in raised.value.problems)
    return list(raised.value.problems)


def test_a_token_is_enough(settings: Load) -> None:
    loaded = settings()
    assert (loaded.token, loaded.path, loaded.encrypt_mode, loaded.max_skew_seconds) == (
        TOKEN,
        "/wechat",
        "normal",
        300,
    )
    assert (loaded.deliveries, loaded.session_seconds, loaded.sandbox) == (3, 1800, False)


def test_settings_are_frozen(settings: Load) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().token = "x"  # type: ignore[misc]


def test_every_wrong_setting_is_named_at_once_and_secrets_are_not_shown(settings: Load) -> None:
    found = problems(
        settings,
        WECHAT_TOKEN="no!",
        WECHAT_ENCODING_AES_KEY="tooShortToBeAKey",
        WECHAT_ENCRYPT_MODE="secret",
        WECHAT_MAX_SKEW_SECONDS="5m",
        WECHAT_CACHE_URL="redis://user:hunt/er@2@host/0",
    )
    assert [problem.split()[0] for problem in found] == [
        "WECHAT_TOKEN",
        "WECHAT_ENCRYPT_MODE",
        "WECHAT_ENCODING_AES_KEY",
        "WECHAT_MAX_SKEW_SECONDS",
        "WECHAT_CACHE_URL",
    ]
    text = "\n".join(found)
    assert "got 3 characters; expected 3 to 32 letters and digits" in text
    assert "got 'secret'; expected normal, compatible or safe" in text
    assert "got '5m'; expected a whole number from 1 to 86400" in text
    assert "user" not in text
    assert not any(secret in text for secret in ("no!", "tooShortToBeAKey", "hunt", "er@2"))


def test_a_missing_token_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="WECHAT_TOKEN is missing; expected 3 to 32 letters and digits"):
        config.load({}, tmp_path / "no.env")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WECHAT_TOKEN", "ab"),
        ("WECHAT_TOKEN", "a" * 33),
        ("WECHAT_TOKEN_PREVIOUS", "中文中文"),
        ("WECHAT_APPID", "gh_7f083739789a"),
        ("WECHAT_APPSECRET", "short"),
        ("WECHAT_ENCODING_AES_KEY_PREVIOUS", "!" * 43),
        ("WECHAT_PATH", "wechat"),
        ("WECHAT_PATH", "/<x>"),
        ("WECHAT_HANDLERS", "my bot"),
        ("WECHAT_DEFAULT_REPLY", "好" * 683),
        ("WECHAT_LATE_REPLY", "never"),
        ("WECHAT_DELIVERIES", "0"),
        ("WECHAT_SESSION_SECONDS", "-1"),
        ("WECHAT_SESSION_SECONDS", "٣"),
        ("WECHAT_API_BASE_URL", "api.weixin.qq.com"),
        ("WECHAT_PUBLIC_URL", "https://"),
        ("WECHAT_DATABASE_URL", "wechat.db"),
        ("WECHAT_SANDBOX", "yes"),
        ("WECHAT_LOG_LEVEL", "LOUD"),
        ("WECHAT_LOG_FORMAT", "xml"),
    ],
)
def test_a_malformed_setting_stops_the_start(settings: Load, name: str, value: str) -> None:
    (problem,) = problems(settings, **{name: value})
    assert problem.startswith(f"{name} is malformed: got ")
    assert "; expected " in problem


@pytest.mark.parametrize("mode", ["compatible", "safe"])
def test_sealing_needs_appid_and_key(settings: Load, mode: str) -> None:
    found = problems(settings, WECHAT_ENCRYPT_MODE=mode)
    assert [problem.split()[0] for problem in found] == ["WECHAT_APPID", "WECHAT_ENCODING_AES_KEY"]
    loaded = settings(WECHAT_ENCRYPT_MODE=mode, WECHAT_APPID=APPID, WECHAT_ENCODING_AES_KEY=AES_KEY)
    assert loaded.encoding_aes_keys == (AES_KEY,)


def test_a_misspelt_setting_is_not_ignored(settings: Load) -> None:
    assert problems(settings, WECHAT_ENCODING_AESKEY=AES_KEY) == [
        "WECHAT_ENCODING_AESKEY is not a setting; did you mean WECHAT_ENCODING_AES_KEY?"
    ]


def test_a_name_of_somebody_else_is_left_alone(settings: Load) -> None:
    assert settings(WECHAT_CHAT_BASE_URL="http://x", WECHAT_MY_BOT="1").token == TOKEN


@pytest.mark.parametrize("line", ["欢迎\\n回复 1", '"欢迎\\n回复 1"', '"欢迎\n回复 1"', "'欢迎\\n回复 1'"])
def test_a_line_break_in_a_reply_is_written_as_backslash_n(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"WECHAT_DEFAULT_REPLY={line}\n", encoding="utf-8")
    assert config.load({"WECHAT_TOKEN": TOKEN}, tmp_path / ".env").default_reply == "欢迎\n回复 1"
    environ = {"WECHAT_TOKEN": TOKEN, "WECHAT_DEFAULT_REPLY": "欢迎\\n回复 1"}
    assert config.load(environ, tmp_path / "none").default_reply == "欢迎\n回复 1"


def test_an_empty_setting_is_as_good_as_none(settings: Load) -> None:
    assert settings(WECHAT_PATH="", WECHAT_TOKEN_PREVIOUS="").tokens == (TOKEN,)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "\ufeffWECHAT_TOKEN=fromTheFile\nWECHAT_PATH='/file' # comment\nOTHER=${HOME}\n", encoding="utf-8"
    )
    loaded = config.load({"WECHAT_TOKEN": "fromTheEnvironment"}, dotenv)
    assert (loaded.token, loaded.path) == ("fromTheEnvironment", "/file")
    assert config.load({}, dotenv).token == "fromTheFile"


@pytest.mark.parametrize("line", ["WECHAT_TOKEN", "WECHAT_TOKEN='abc", "= abc"])
def test_a_line_of_the_file_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"WECHAT_PATH=/x\n{line}\n")
    with pytest.raises(ConfigError, match="line 2: expected NAME=value"):
        config.load({"WECHAT_TOKEN": TOKEN}, dotenv)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"WECHAT_TOKEN=\xff\xfe")
    with pytest.raises(ConfigError, match="expected a UTF-8 text file"):
        config.load({"WECHAT_TOKEN": TOKEN}, dotenv)


def test_secrets_are_not_in_the_settings_repr(settings: Load) -> None:
    loaded = settings(
        WECHAT_TOKEN_PREVIOUS="previousToken", WECHAT_ADMIN_PASSWORD="aPassword", WECHAT_APPSECRET="s" * 32
    )
    assert not any(secret in repr(loaded) for secret in loaded.secrets)
    assert set(loaded.secrets) == {TOKEN, "previousToken", loaded.admin_password, "s" * 32}


def test_the_password_of_the_console_is_kept_as_a_hash(settings: Load) -> None:
    loaded = settings(WECHAT_ADMIN_PASSWORD="aPassword")
    assert check_password_hash(loaded.admin_password, "aPassword")
    assert loaded.admin_password == settings(WECHAT_ADMIN_PASSWORD="aPassword").admin_password  # in all processes
    own = generate_password_hash("aPassword")
    assert settings(WECHAT_ADMIN_PASSWORD=own).admin_password == own


@pytest.mark.parametrize(
    "password",
    [
        "seven77",
        "x" * 201,
        "scrypt:32768:8:1$cut",
        "scrypt:32768:8$salt$ab",
        "pbkdf2:foo:1000$a$ff",
        " " * 8,
        f"scrypt:32768:8:1$salt${'a' * 127}",
    ],
)
def test_a_password_that_is_short_or_half_a_hash_stops_the_start(settings: Load, password: str) -> None:
    with pytest.raises(ConfigError, match="WECHAT_ADMIN_PASSWORD is malformed"):
        settings(WECHAT_ADMIN_PASSWORD=password)


def test_the_settings_are_in_the_applications_config(settings: Load) -> None:
    assert settings().by_name()["WECHAT_DEFAULT_REPLY"] == "你好，消息已收到"


def test_the_example_file_loads_once_the_token_is_filled_in(tmp_path: Path) -> None:
    example = Path(__file__).parent.parent / ".env.example"
    dotenv = tmp_path / ".env"
    dotenv.write_text(example.read_text(encoding="utf-8").replace("WECHAT_TOKEN=\n", f"WECHAT_TOKEN={TOKEN}\n"))
    loaded = config.load({}, dotenv)
    assert loaded == dataclasses.replace(config.load({"WECHAT_TOKEN": TOKEN}, tmp_path / "no"), token=TOKEN)
    assert "WECHAT_TOKEN" not in os.environ


def test_the_sandbox_is_asked_where_it_is_on_and_no_api_is_named(settings: Load) -> None:
    named = {"WECHAT_APPID": f"wx{'1' * 16}", "WECHAT_APPSECRET": "0" * 32}
    assert settings(WECHAT_SANDBOX="1", **named).api_base_url == "http://127.0.0.1:8111/sandbox/api"
    assert settings(**named).api_base_url == "https://api.weixin.qq.com"
    assert settings(WECHAT_SANDBOX="1", **named).account != settings(**named).account
