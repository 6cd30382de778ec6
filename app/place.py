"""What things are called where the service runs: in a clone, or as an account that was installed (docs/deploy.md)."""

import os
import re

# Where systemd, and the command wechat, put what runs of an account; deploy/check has such a folder elsewhere.
_RUN_FOLDER = re.compile(r".*/run/wechat/([a-z][a-z0-9_-]*)")


def installed_account() -> str:
    """Return the account's name on this machine, "" in a clone."""
    found = _RUN_FOLDER.fullmatch(os.environ.get("RUNTIME_DIRECTORY", ""))
    return found[1] if found else ""


def command(words: str) -> str:
    """Return what is typed here for the command ``flask words``."""
    return _either(f"flask {words}", f"sudo wechat ACCOUNT {words.removeprefix('wechat ')}")


def settings_file() -> str:
    """Return where the settings are."""
    return _either(".env", "/etc/wechat/ACCOUNT.env")


def size_file() -> str:
    """Return where uWSGI's options are changed."""
    return _either("uwsgi_wechat.ini", "/etc/wechat/ACCOUNT.ini")


def unit_option(option: str) -> str:
    """Return how ``option`` gets into the unit."""
    return _either(f"{option} in the unit", f"sudo systemctl edit wechat@ACCOUNT: {option}")


def restart() -> str:
    """Return how the service is restarted."""
    return _either("restart the service", "sudo systemctl restart wechat@ACCOUNT")


def status() -> str:
    """Return how it is seen whether the service runs."""
    return _either("systemctl status 'wechat@*'", "systemctl status wechat@ACCOUNT")


def _either(in_a_clone: str, installed: str) -> str:
    account = installed_account()
    return installed.replace("ACCOUNT", account) if account else in_a_clone
