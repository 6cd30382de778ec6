"""The settings: read from the environment and ``.env``, checked all at once, then frozen."""

import difflib
import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dotenv.parser import parse_stream

from app import checks, place
from app.errors import ConfigError

_PREFIX = "WECHAT_"
TEXT_LIMIT_BYTES = 2047
"""The longest text that WeChat takes in a reply, in UTF-8."""
WECHAT_API_BASE_URL = "https://api.weixin.qq.com"
SANDBOX_APPID = "wxsandbox000000000"
"""The account that the sandbox plays."""
SANDBOX_API_PATH = "/sandbox/api"


def _setting(
    check: checks.Check, expected: str, default: Any = "", *, required: bool = False, secret: bool = False
) -> Any:
    """Describe one setting: how its text is checked, what an error says is expected, and what stands without it."""
    row = {"check": check, "expected": expected, "required": required, "secret": secret}
    return field(default=default, repr=not secret, metadata=row)


_TOKEN = checks.pattern("[A-Za-z0-9]{3,32}")
_TOKEN_EXPECTED = "3 to 32 letters and digits, as on the account's basic-configuration page"  # noqa: S105 (a description)
_AES_KEY_EXPECTED = "43 letters and digits, as on the account's basic-configuration page"
_REPLY = checks.text(TEXT_LIMIT_BYTES)
_REPLY_EXPECTED = f"a text of at most {TEXT_LIMIT_BYTES} bytes"
_HTTP_EXPECTED = "https://HOST or http://HOST"
_ACCOUNT = ("WECHAT_APPID", "WECHAT_APPSECRET", "WECHAT_API_BASE_URL", "WECHAT_SANDBOX")
_HOST = r"(\[[\da-fA-F:]+\]|[\w.-]+)(:\d+)?"
_CACHE_URL = (
    rf"memory://|uwsgi://[\w-]+|unix://([^@/\s]*@)?/\S+|memcached://{_HOST}"
    rf"|rediss?://([^@/\s]*@)?{_HOST}([/?]\S*)?|rediss?\+sentinel://([^@/\s]*@)?{_HOST}(,{_HOST})*/[\w.-]+([/?]\S*)?"
)


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; the field ``token`` is the environment's ``WECHAT_TOKEN``, and so on."""

    token: str = _setting(_TOKEN, _TOKEN_EXPECTED, required=True, secret=True)
    token_previous: str = _setting(_TOKEN, _TOKEN_EXPECTED, secret=True)
    appid: str = _setting(checks.pattern("wx[0-9A-Za-z]{16}"), "wx and 16 letters and digits")
    appsecret: str = _setting(checks.pattern("[0-9a-zA-Z]{32}"), "32 letters and digits", secret=True)
    encrypt_mode: str = _setting(checks.one_of("normal", "compatible", "safe"), "normal, compatible or safe", "normal")
    encoding_aes_key: str = _setting(checks.aes_key, _AES_KEY_EXPECTED, secret=True)
    encoding_aes_key_previous: str = _setting(checks.aes_key, _AES_KEY_EXPECTED, secret=True)
    path: str = _setting(
        checks.pattern(r"/[\w./-]*"), "a path that starts with /, of letters, digits and . _ - /", "/wechat"
    )
    handlers: str = _setting(checks.pattern(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"), "a module's name", "app.handlers")
    default_reply: str = _setting(_REPLY, _REPLY_EXPECTED, "你好，消息已收到")
    error_reply: str = _setting(_REPLY, _REPLY_EXPECTED, "出了点问题，请稍后再试")
    busy_reply: str = _setting(_REPLY, _REPLY_EXPECTED, "现在有点忙，请稍后再试")
    late_reply: str = _setting(
        checks.one_of("auto", "customer_service", "next_message"), "auto, customer_service or next_message", "auto"
    )
    hold_reply: str = _setting(_REPLY, _REPLY_EXPECTED, "还在处理，稍后回复 1 查看结果")
    pickup_word: str = _setting(_REPLY, _REPLY_EXPECTED, "1")
    deliveries: int = _setting(checks.whole_number(1, 10), "a whole number from 1 to 10", 3)
    max_skew_seconds: int = _setting(checks.whole_number(1, 86400), "a whole number from 1 to 86400", 300)
    handlers_at_once: int = _setting(checks.whole_number(1, 100_000), "a whole number from 1 to 100000", 1000)
    session_seconds: int = _setting(checks.whole_number(1, 2592000), "a whole number from 1 to 2592000", 1800)
    cache_url: str = _setting(
        checks.pattern(_CACHE_URL),
        "uwsgi://NAME (a cache2 of uwsgi_wechat.ini), memory://, redis://HOST, rediss://HOST, unix:///SOCKET, "
        "redis+sentinel://HOST,HOST/SERVICE or memcached://HOST",
    )
    database_url: str = _setting(
        checks.pattern(r"[a-z][a-z0-9]*(\+[a-z0-9_]+)?://\S*"),
        "a SQLAlchemy URL: sqlite:///FILE, mysql://USER:PASSWORD@HOST/DATABASE or postgresql://…",
        "sqlite:///instance/wechat.db",
    )
    api_base_url: str = _setting(checks.url, _HTTP_EXPECTED, WECHAT_API_BASE_URL)
    public_url: str = _setting(checks.url, _HTTP_EXPECTED)
    jssdk_hosts: tuple[str, ...] = _setting(checks.hosts, "names of hosts, separated by commas", ())
    secret_key: str = _setting(checks.pattern("[!-~]{32,}"), "at least 32 visible ASCII characters", secret=True)
    admin_password: str = _setting(checks.password, "8 to 200 characters, or the hash of a password", secret=True)
    sandbox: bool = _setting(checks.flag, "1, or nothing", False)
    chat_base_url: str = _setting(checks.url, "https://HOST/v1 of an OpenAI-compatible service")
    chat_api_key: str = _setting(checks.pattern("[!-~]+"), "visible ASCII characters", secret=True)
    chat_model: str = _setting(checks.pattern(r"\S+"), "a model's name, without white space")
    chat_prompt: str = _setting(
        str, "a text", "你是微信公众号里的助手。用简短的纯文本回答，不超过 500 字，不用 Markdown。"
    )
    log_level: str = _setting(checks.log_level, "DEBUG, INFO, WARNING or ERROR", "INFO")
    log_format: str = _setting(checks.one_of("text", "json"), "text or json", "text")

    @property
    def account(self) -> str:
        """What the data of this account is kept under: what the sandbox made is not for WeChat itself."""
        return f"{self.appid}~played" if self.sandbox and self.appid != SANDBOX_APPID else self.appid

    @property
    def has_api(self) -> bool:
        """Tell whether WeChat's API can be called: it takes the appid and the secret."""
        return bool(self.appid and self.appsecret)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens that sign, the current one first."""
        return tuple(filter(None, (self.token, self.token_previous)))

    @property
    def encoding_aes_keys(self) -> tuple[str, ...]:
        """The keys that seal, the current one first."""
        return tuple(filter(None, (self.encoding_aes_key, self.encoding_aes_key_previous)))

    def by_name(self) -> dict[str, Any]:
        """Return the settings under their names in the environment, for ``current_app.config``."""
        return {env_name(row): getattr(self, row.name) for row in fields(self)}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that no log line may show."""
        values = (getattr(self, row.name) for row in fields(self) if row.metadata["secret"])
        passwords = [urlsplit(url).password or "" for url in (self.cache_url, self.database_url)]
        return tuple(filter(None, (*values, *passwords, *map(unquote, passwords))))


def load(
    environ: Mapping[str, str] | None = None, dotenv: Path = Path(".env"), *, development: bool = False
) -> Settings:
    """Read and check the settings; what ``environ`` says wins over the file ``dotenv``.

    With ``development``, where no account is named, the sandbox's is taken.
    Raises ConfigError that names every wrong setting at once.
    """
    problems: list[str] = []
    raw = {**_read_dotenv(dotenv, problems), **(os.environ if environ is None else environ)}
    known = {env_name(row): row for row in fields(Settings)}
    values = {row.name: _read(row, raw.get(name, ""), problems) for name, row in known.items()}
    if development and not any(raw.get(name) for name in _ACCOUNT):
        values["sandbox"] = True
    if values["sandbox"]:
        values |= _sandbox(values, raw)
    problems += _misspelt(raw, list(known)) + _wrong_together(values, raw)
    if problems:
        raise ConfigError.listing(f"the settings (environment and {place.settings_file()}) are wrong", problems)
    if not raw.get("WECHAT_HOLD_REPLY"):  # the default names the default word
        values["hold_reply"] = values["hold_reply"].replace(" 1 ", f" {values['pickup_word']} ")
    values["admin_password"] = _hashed(values["admin_password"], values["token"])
    values["cache_url"] = values["cache_url"] or ("uwsgi://wechat" if _under_uwsgi() else "memory://")
    return Settings(**values)


def _sandbox(values: Mapping[str, Any], raw: Mapping[str, str]) -> dict[str, str]:
    """Return where the sandbox is, and the account that it plays where the settings name none."""
    account: dict[str, str] = {}
    host = raw.get("HOST", "127.0.0.1")
    url = f"http://{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{raw.get('PORT') or '8111'}"  # noqa: S104
    if not values["appid"] and not values["appsecret"]:
        account = {"appid": SANDBOX_APPID, "public_url": values["public_url"] or url}
        account["appsecret"] = hashlib.blake2b(values["token"].encode(), digest_size=16).hexdigest()
    if not raw.get("WECHAT_API_BASE_URL") and not _under_uwsgi():  # a production start names it
        account["api_base_url"] = url + SANDBOX_API_PATH
    return account


def _hashed(password: str, token: str) -> str:
    """Return the password's hash, the same in all processes; a hash stays as it is."""
    if not password or checks.is_hash(password):
        return password
    salt = hashlib.blake2b(token.encode(), digest_size=8, person=b"admin").hexdigest()
    parts = hashlib.scrypt(password.encode(), salt=salt.encode(), n=2**15, r=8, p=1, maxmem=2**26)
    return f"scrypt:32768:8:1${salt}${parts.hex()}"


def env_name(row: "Field[Any]") -> str:
    """Return the environment's name of a field of Settings."""
    return _PREFIX + row.name.upper()


def _read_dotenv(path: Path, problems: list[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for binding in parse_stream(stream):
                if binding.error or (binding.key and binding.value is None):
                    problems.append(f"{path} line {binding.original.line}: expected NAME=value")
                elif binding.key:
                    values[binding.key] = binding.value or ""
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read ({type(error).__name__}); expected a UTF-8 text file")
    return values


def _read(row: "Field[Any]", raw: str, problems: list[str]) -> Any:
    if not raw:
        if row.metadata["required"]:
            problems.append(f"{env_name(row)} is missing; expected {row.metadata['expected']}")
        return row.default
    try:
        return row.metadata["check"](raw)
    except ValueError:
        got = (
            f"{len(raw)} characters"
            if row.metadata["secret"] or "@" in raw  # a password may be in it, well-formed or not
            else repr(raw)
        )
        problems.append(f"{env_name(row)} is malformed: got {got}; expected {row.metadata['expected']}")
        return row.default


def _misspelt(raw: Mapping[str, str], known: list[str]) -> list[str]:
    unknown = [name for name in raw if name.startswith(_PREFIX) and name not in known]
    near = {name: difflib.get_close_matches(name, known, 1, cutoff=0.9) for name in unknown}
    return [f"{name} is not a setting; did you mean {match[0]}?" for name, match in near.items() if match]


def _wrong_together(values: Mapping[str, Any], raw: Mapping[str, str]) -> list[str]:
    problems = []
    if values["sandbox"] and urlsplit(values["api_base_url"]).hostname == "api.weixin.qq.com" and _under_uwsgi():
        problems.append("WECHAT_SANDBOX=1 in production; expected a WECHAT_API_BASE_URL that is not WeChat's own")
    if values["cache_url"].startswith("memory:") and _under_uwsgi() and sys.modules["uwsgi"].numproc > 1:
        problems.append(
            "WECHAT_CACHE_URL=memory:// with several processes of uWSGI; expected uwsgi://NAME, which they share"
        )
    if values["encrypt_mode"] == "normal":
        return problems
    missing = [name for name in ("appid", "encoding_aes_key") if not values[name]]
    mode = f"WECHAT_ENCRYPT_MODE={values['encrypt_mode']}"
    return problems + [f"{_PREFIX}{name.upper()} is missing; {mode} cannot work without it" for name in missing]


def _under_uwsgi() -> bool:
    return "uwsgi" in sys.modules  # a module that only uWSGI itself makes
