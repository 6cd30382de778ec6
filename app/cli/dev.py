"""``flask wechat dev``: the service for somebody who works on handlers: what is saved answers at once."""

import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import cache_from_source, find_spec
from pathlib import Path

import click
import flask_migrate
from flask import Flask, current_app
from werkzeug.serving import run_simple

from app.cli import echo
from app.config import Settings
from app.errors import ConfigError
from app.table.dispatch import Table
from app.table.load import load

LOOK_SECONDS = 0.3
logger = logging.getLogger("wechat.dev")


class Reloader:
    """Loads the handlers' package anew when one of its files has changed, and gives ``table`` its rows.

    What cannot be loaded changes nothing but ``app.extensions["wechat_dev_error"]``, which the phone shows.
    """

    def __init__(self, app: Flask, table: Table, module_name: str) -> None:
        self._app = app
        self._table = table
        self._module_name = module_name
        own = module_name.startswith("app.")
        self._package = "app.handlers" if own else module_name.partition(".")[0]
        spec = find_spec(self._package)
        self._places = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
        self._file = Path(spec.origin) if spec and spec.origin and not self._places else None
        self._seen = self._stamps()

    def look(self) -> bool:
        """Return whether something was saved, after it was loaded."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._seen = stamps
        for file in stamps:  # bytecode is told from its source by the second and the size alone
            with suppress(OSError, NotImplementedError):
                os.unlink(cache_from_source(str(file)))
        before = {name: module for name, module in sys.modules.items() if self._is_of_it(name)}
        for name in before:
            del sys.modules[name]
        importlib.invalidate_caches()
        try:
            self._table.become(load(self._module_name))
        except ConfigError as error:
            for name in filter(self._is_of_it, list(sys.modules)):
                del sys.modules[name]
            sys.modules.update(before)
            self._app.extensions["wechat_dev_error"] = str(error)
            logger.error("%s; the handlers as they were before go on", error)
        else:
            self._app.extensions["wechat_dev_error"] = ""
            logger.info("the handlers were loaded anew: %d rows", len(self._table.rows))
        return True

    def run(self) -> None:
        """Look again and again."""
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception:  # or nothing that is saved afterwards would be seen
                logger.exception("the handlers cannot be loaded anew")

    def _is_of_it(self, name: str) -> bool:
        return name == self._package or name.startswith(f"{self._package}.")

    def _stamps(self) -> dict[Path, tuple[int, int]]:
        return dict(self._stamped())

    def _stamped(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        files = [self._file] if self._file else [file for place in self._places for file in place.rglob("*.py")]
        for file in files:
            try:
                found = file.stat()
            except OSError:  # just being saved
                continue
            yield file, (found.st_mtime_ns, found.st_size)


def command(settings: Settings, table: Table) -> click.Command:
    """Return ``dev``."""

    @click.command()
    def dev() -> None:
        """Serve on $HOST:$PORT, and load handlers anew when they are saved; breakpoint() stops in this shell."""
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        host, port = os.environ.get("HOST") or "127.0.0.1", int(os.environ.get("PORT") or "8111")
        flask_migrate.upgrade()
        threading.Thread(target=Reloader(app, table, settings.handlers).run, name="reloader", daemon=True).start()
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # its lines hold signatures; a message has its own
        echo(f"*** http://{host}:{port}{settings.path}; handlers are loaded anew when {settings.handlers} is saved ***")
        if settings.sandbox:
            echo(f"*** a fan's phone to try it on: http://{host}:{port}/sandbox/ ***")
        run_simple(host, port, app, threaded=True)

    return dev
