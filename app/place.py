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
    account = installed_account()
    return f"sudo wechat {account} {words.removeprefix('wechat ')}" if account else f"flask {words}"


def settings_file() -> str:
    """Return where the settings are."""
    account = installed_account()
    return f"/etc/wechat/{account}.env" if account else ".env"


def size_file() -> str:
    """Return where uWSGI's options are changed."""
    account = installed_account()
    return f"/etc/wechat/{account}.ini" if account else "uwsgi_wechat.ini"


def unit_option(option: str) -> str:
    """Return how ``option`` gets into the unit."""
    account = installed_account()
    return f"sudo systemctl edit wechat@{account}: {option}" if account else f"{option} in the unit"


def restart() -> str:
    """Return how the service is restarted."""
    account = installed_account()
    return f"sudo systemctl restart wechat@{account}" if account else "restart the service"


def status() -> str:
    """Return how it is seen whether the service runs."""
    account = installed_account()
    return f"systemctl status wechat@{account}" if account else "systemctl status 'wechat@*'"
