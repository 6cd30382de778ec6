"""wechatPlatform: a callback service for a WeChat Official Account."""

from importlib import import_module

from flask import Flask

import log
from app import cache, cli, config
from app.callback import route
from app.callback.dispatch import Table
from app.callback.road import Road
from app.errors import ConfigError


def create_app(settings: config.Settings | None = None) -> Flask:
    """Wire the service; without ``settings`` they are read from the environment and ``.env``.

    Raises ConfigError for wrong settings or a wrong handler table.
    """
    with cli.plain_config_errors():
        settings = settings or config.load()
        log.configure(settings.log_level, settings.log_format, settings.secrets)
        table = _table(settings.handlers)
        # A command in the shell is not under uWSGI, though the .env is the server's.
        in_memory = cli.in_shell() and settings.cache_url.startswith("uwsgi:")
        road = Road(settings, cache.connect("memory://" if in_memory else settings.cache_url, settings.appid), table)
    app = Flask(__name__, static_folder=None)
    app.config.update(settings.by_name())
    route.add_callback(app, settings.path, road)
    app.cli.add_command(cli.wechat_commands(settings, table))
    return app


def _table(module_name: str) -> Table:
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"WECHAT_HANDLERS={module_name}: no such module; expected one that holds HANDLERS") from error
    if not hasattr(module, "HANDLERS"):
        raise ConfigError(f"WECHAT_HANDLERS={module_name} has no HANDLERS; expected a dict of rows")
    return Table(module.HANDLERS, getattr(module, "MIDDLEWARE", ()))
