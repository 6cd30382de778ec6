"""wechatPlatform: a callback service for a WeChat Official Account."""

import resource
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from flask import Flask

import log
from app import cache, cli, config, place
from app.api import open_api, send
from app.callback import route
from app.callback.middleware import after, before, counted
from app.callback.road import Road
from app.cookies import sign_cookies
from app.health import add_health
from app.jssdk import add_jssdk
from app.oauth import add_login
from app.once.answer import SendLate
from app.once.held import most_held
from app.once.machine import Bounds
from app.room import Room
from app.sockets import check_sockets
from app.store import open_store
from app.store.recorder import Recorder
from app.table.dispatch import Table
from app.table.load import load

# Less than the worker-reload-mercy of uwsgi_wechat.ini, which kills what is left.
_STOP_SECONDS = 55.0
# Each thread that waits for the interpreter's lock wakes this often. At Python's own 5 ms, 1,500 of them did little
# else: both cores for 10 to 18 s, and no answer meanwhile. Nearly as many handlers may run in threads.
_SWITCH_SECONDS = 0.05


@cli.with_doctor
def create_app(
    settings: config.Settings | None = None, send_late: SendLate | None = None, table: Table | None = None
) -> Flask:
    """Wire the service; without ``settings`` they are read from the environment and ``.env``.

    ``send_late(openid, reply)`` sends an answer that comes after WeChat's last delivery, where ``reply`` is what the
    handler returned; it raises when that failed for good. By default it is ``app.api.send`` where the account has an
    AppSecret; without, such an answer waits for the pickup word. ``table`` is that of ``WECHAT_HANDLERS`` by default.
    Raises ConfigError for wrong settings or a wrong handler table.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    settings = settings or config.load(development=cli.in_shell() and not place.installed_account())
    log.configure(settings.log_level, settings.log_format, settings.secrets)
    check_sockets()
    app = Flask(__name__, static_folder=None)
    app.config.update(settings.by_name())
    open_store(app, settings.database_url)
    table = table or load(settings.handlers)
    if "uwsgi" not in sys.modules:
        _add_commands(app, settings, table)
    # A command in the shell is not under uWSGI, though the .env is the server's.
    in_memory = cli.in_shell() and settings.cache_url.startswith("uwsgi:")
    shared = cache.connect("memory://" if in_memory else settings.cache_url, settings.account)
    account = open_api(app, settings, shared)
    recorder = app.extensions["wechat_recorder"] = Recorder(app, settings.account)
    around = [counted, after(recorder.note)]
    if settings.has_api:
        send_late = send_late or _in_context(app, send)
        around.append(before(account.budget.note))
    bounds = _bounds(settings.handlers_at_once)
    road = Road(settings, shared, table, bounds, send_late=send_late, around=around, context=app.app_context)
    app.extensions["wechat_road"] = road
    route.add_callback(app, settings.path, road)
    ready = add_health(app, shared, table)
    sign_cookies(app, settings)
    add_login(app, settings)
    add_jssdk(app, settings)
    app.wsgi_app = Room(app.wsgi_app, max(bounds.inline // 2, 1))  # type: ignore[method-assign]
    starts: list[Callable[[], None]] = [road.start]
    # Sandbox and console take memory in each worker: loaded where they are wanted.
    if settings.sandbox:
        import_module("app.sandbox.api").mount_sandbox(app, settings, table)
    if settings.admin_password:
        console = import_module("app.console.site")
        starts.append(console.mount_console(app, settings, table, shared, road, ready).start)
    _start_in_worker(starts, road)
    return app


def _add_commands(app: Flask, settings: config.Settings, table: Table) -> None:
    """Add ``flask db`` and ``flask wechat``, of no use to a worker: Alembic alone takes 11 MB."""
    import_module("app.store.migrate").add_migrations(app)
    app.cli.add_command(import_module("app.cli.commands").wechat_commands(settings, table))


def _start_in_worker(starts: list[Callable[[], None]], road: Road) -> None:
    """Start what has threads of its own: not in a master of uWSGI that will fork, nor for a command."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi and uwsgi.worker_id():
        for start in starts:
            start()
        uwsgi.atexit = lambda: road.stop(_STOP_SECONDS)


def _in_context(app: Flask, send: SendLate) -> SendLate:
    """Let ``send`` find the app in threads that have no context of a request."""

    def send_late(openid: str, reply: Any) -> None:
        with app.app_context():
            send(openid, reply)

    return send_late


def _bounds(handlers_at_once: int) -> Bounds:
    """Return how much this process takes on; half of uWSGI's threads stay free to take deliveries."""
    uwsgi = sys.modules.get("uwsgi")
    inline = int(uwsgi.opt.get("threads", 1)) // 2 if uwsgi else handlers_at_once
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Bounds(handlers_at_once, inline, most_held(files))
