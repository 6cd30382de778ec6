"""The doctor: looks at the settings, the machine, the way in and the account, and says what to do."""

from pathlib import Path
from urllib.parse import urlsplit

from app import place
from app.config import Settings
from app.doctor.account import check_account
from app.doctor.cache import check_cache
from app.doctor.database import check_database
from app.doctor.finding import Findings, warning
from app.doctor.nginx import NGINX_FILE, Site, check_nginx, read_site
from app.doctor.reach import check_clock, check_reach
from app.doctor.settings import check_settings, check_table
from app.doctor.uwsgi import check_uwsgi, run_folder
from app.table.dispatch import Table


def examine(settings: Settings, table: Table, url: str = "", nginx: Path = NGINX_FILE) -> Findings:
    """Yield what is found, line by line, in the context of the app.

    ``url`` is the callback as WeChat calls it, by default what WECHAT_PUBLIC_URL and WECHAT_PATH make; ``nginx`` is
    nginx's main file. No line holds a secret, and none takes longer than its time-outs of 3 and 5 seconds a call.
    """
    url = url or (settings.public_url and settings.public_url + settings.path)
    yield from check_settings(settings)
    yield from check_table(settings, table)
    site, path = None, settings.path
    try:
        site, path = of_nginx(nginx, settings.path, url)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        yield warning(
            "nginx", f"not looked at: {nginx}: {reason}", f"{place.command('wechat doctor')} --nginx FILE, or as root"
        )
    if site and (site.locations or not settings.sandbox):
        yield from check_nginx(site, nginx, path)
    yield from check_uwsgi(run_folder(site), site, settings.handlers_at_once)
    machines = site.machines if site else 1
    yield from check_cache(settings, machines)
    yield from check_database(settings, machines)
    yield from check_clock(settings, url)
    yield from check_reach(settings, url)
    yield from check_account(settings, site.allowed if site else None)


def of_nginx(file: Path, path: str, url: str) -> tuple[Site, str]:
    """Return what nginx does with the callback, and at which path: in the older layout it is not the service's."""
    site = read_site(file, path)
    if site.is_older and not site.locations and (outside := urlsplit(url).path):
        return read_site(file, outside), outside
    return site, path
