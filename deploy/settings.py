"""Write an account's settings at its first install: what the environment names, the rest asked for on a terminal.

python settings.py TEMPLATE TARGET CALLBACK-PATH, where TEMPLATE is .env.example, and TARGET is made, with mode 0600.
"""

import getpass
import os
import re
import secrets
import string
import sys
from dataclasses import fields
from pathlib import Path

from app import config
from app.errors import ConfigError

_ROWS = {config.env_name(row): row for row in fields(config.Settings)}
_PLAIN = re.compile(r"[\w./:@%+,=-]+")


def ask(name: str, otherwise: str) -> str:
    """Ask for a setting until it is well-formed, a secret one unseen; "" where Enter alone was pressed."""
    row = _ROWS[name].metadata
    while True:
        prompt = f"{name}: {row['expected']}\n  (Enter: {otherwise}) > "
        value = (getpass.getpass(prompt) if row["secret"] else input(prompt)).strip()
        try:
            return value and str(row["check"](value))
        except ValueError:
            print(f"  that is malformed; expected {row['expected']}")


def ask_for_missing(values: dict[str, str]) -> None:
    """Add to ``values`` what the account's page has and the environment does not name."""

    def add(name: str, otherwise: str) -> None:
        if name not in os.environ and (answer := ask(name, otherwise)):
            values[name] = answer

    add("WECHAT_TOKEN", "a random one")
    add("WECHAT_APPID", "none: plain messages, no API")
    if values.get("WECHAT_APPID"):
        add("WECHAT_APPSECRET", "none: no API")
        add("WECHAT_ENCRYPT_MODE", "normal; safe is the one to choose")
    if values.get("WECHAT_ENCRYPT_MODE", "normal") != "normal":
        add("WECHAT_ENCODING_AES_KEY", "a random one")


def complete(values: dict[str, str], path: str) -> None:
    """Add what can be made: the callback's path, and what is random. Raises ConfigError where they are wrong."""
    if values.setdefault("WECHAT_PATH", path) != path:
        raise ConfigError(f"WECHAT_PATH={values['WECHAT_PATH']}: nginx passes {path} on; expected that, or nothing")
    values.setdefault("WECHAT_TOKEN", secrets.token_hex(16))
    values.setdefault("WECHAT_SECRET_KEY", secrets.token_hex(32))
    if values.get("WECHAT_ENCRYPT_MODE", "normal") != "normal" and "WECHAT_ENCODING_AES_KEY" not in values:
        letters = string.ascii_letters + string.digits
        values["WECHAT_ENCODING_AES_KEY"] = "".join(secrets.choice(letters) for _ in range(43))
    config.load(values, Path(os.devnull))


def filled_in(template: str, values: dict[str, str]) -> str:
    """Return ``template`` with each value in the line of its name, those that it does not know at the end."""
    for name, value in values.items():
        line = f"{name}={value if _PLAIN.fullmatch(value) else quoted(value)}"
        place = re.search(rf"^#?{name}=.*$", template, re.MULTILINE)
        template = template[: place.start()] + line + template[place.end() :] if place else f"{template}{line}\n"
    return template


def quoted(value: str) -> str:
    """Return ``value`` as a .env file holds it, whatever it holds."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def main(template: str, target: str, path: str) -> None:
    """Make the file, or say what is wrong and make none."""
    values = {name: value for name, value in os.environ.items() if name.startswith("WECHAT_") and value}
    if sys.stdin.isatty():
        ask_for_missing(values)
    try:
        complete(values, path)
    except ConfigError as error:
        sys.exit(str(error))
    text = filled_in(Path(template).read_text(encoding="utf-8"), values)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
