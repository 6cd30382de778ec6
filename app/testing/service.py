"""The service that a Fan writes to: the real one, with a cache in memory, and an account that is played in it."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import requests
from flask import Flask
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from werkzeug.test import TestResponse

from app import config, create_app
from app.once.pulse import Task
from app.sandbox.api import sandbox_api
from app.sandbox.wechat import WeChat
from app.store import db
from app.table.dispatch import Table
from app.testing.clock import CLOCK, IS_HANDLER

Handlers = Mapping[Any, Any] | ModuleType | Flask
_ENVIRONMENT = {
    "WECHAT_TOKEN": "tokenOfATest",
    "WECHAT_APPID": config.SANDBOX_APPID,
    "WECHAT_APPSECRET": "5ecret5ecret5ecret5ecret5ecret00",
    "WECHAT_API_BASE_URL": "http://127.0.0.1/api",
    "WECHAT_CACHE_URL": "memory://",
}
_STEP_SECONDS, _MOST_STEPS = 0.1, 500
_MOST_POSTS = 64
_LOOK_SECONDS = 0.0005
_PATIENCE_SECONDS = 30.0


class Service:
    """The application, the account as WeChat knows it, and what goes on in it."""

    def __init__(self, handlers: Handlers, middleware: Any, settings: Mapping[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="wechat-test-"))
        self._is_ours = not isinstance(handlers, Flask)
        try:
            self.app = handlers if isinstance(handlers, Flask) else _app(handlers, middleware, settings, self._folder)
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        known = self.app.config
        self.wechat = WeChat(known["WECHAT_APPID"], known["WECHAT_APPSECRET"], self._folder / "played.db")
        self.api = self.app.extensions["wechat_api"]
        self.road = self.app.extensions["wechat_road"]
        if self.api.settings.has_api:
            base_url = self.api.client.base_url
            self.api.client._http.mount(base_url, _Played(self.wechat, base_url))
        self._posts: list[Future[TestResponse]] = []
        self._threads = ThreadPoolExecutor(_MOST_POSTS, "fan")
        # The one place that looks inside: how much is at work, and whether it has been looked after.
        self._once = self.road._once
        self._beat = threading.Event()
        self._wants_beat = False
        self._once._pulse.add(Task(lambda: 0.0 if self._wants_beat else float("inf"), self._note_beat))
        CLOCK.hold()

    def close(self) -> None:
        """End it: what still runs is woken, and its files are deleted."""
        CLOCK.let_go()
        self._threads.shutdown(wait=False)
        if self._is_ours:
            with self.app.app_context():
                db.engine.dispose()
        if self.api.settings.has_api:
            self.api.client._http.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def post(self, query: Mapping[str, str], body: bytes) -> Future[TestResponse]:
        """Begin a delivery."""
        path = self.app.config["WECHAT_PATH"]

        def posted() -> TestResponse:
            IS_HANDLER.set(True)
            return self.app.test_client().post(path, query_string=query, data=body)

        post = self._threads.submit(copy_context().run, posted)
        self._posts = [*(one for one in self._posts if not one.done()), post]
        return post

    def go_on(self, seconds: float, has_ended: Callable[[], bool], *, fully: bool) -> None:
        """Let ``seconds`` go by, or less where it ``has_ended`` before. What sleeps takes no time.

        ``fully``: the time goes by even where nothing is at work. Otherwise it is waited for what works.
        """
        ends_at, step = CLOCK.now() + seconds, max(_STEP_SECONDS, seconds / _MOST_STEPS)
        gives_up = time.perf_counter() + _PATIENCE_SECONDS
        while not has_ended() and (left := ends_at - CLOCK.now()) > 0:
            if fully and not self._once._has_work():
                CLOCK.move(left)
            elif self._all_sleep() and (fully or CLOCK.sleepers):
                CLOCK.move(min(step, left))
            elif time.perf_counter() > gives_up:
                raise TimeoutError(f"a handler has been at work for {_PATIENCE_SECONDS:.0f} s, and does not sleep")
            self._look_after()
        while not (has_ended() or self._all_sleep()) and time.perf_counter() < gives_up:
            self._look_after()

    def _all_sleep(self) -> bool:
        """Tell whether nobody who is at work does anything but sleep."""
        once, posts = self._once, sum(not post.done() for post in self._posts)
        at_work: int = posts - len(once._waiting) + once._runs.beside + once._endings.sending
        return CLOCK.sleepers >= at_work

    def _look_after(self) -> None:
        """Let the service see what time it is."""
        if self._once._pulse._started_after >= 0:
            self._beat.clear()
            self._wants_beat = True
            self._once._pulse.wake()
            self._beat.wait(1.0)
        threading.Event().wait(_LOOK_SECONDS)

    def _note_beat(self) -> None:
        self._wants_beat = False
        self._beat.set()


def _app(handlers: Any, middleware: Any, settings: Mapping[str, str], folder: Path) -> Flask:
    if isinstance(handlers, ModuleType):
        handlers, middleware = handlers.HANDLERS, middleware or getattr(handlers, "MIDDLEWARE", ())
    (folder / "wechat.db").write_bytes(_empty_database())
    given = {**_ENVIRONMENT, "WECHAT_DATABASE_URL": f"sqlite:///{folder}/wechat.db", **settings}
    return create_app(config.load(given, Path("/dev/null")), table=Table(handlers, middleware))


@cache
def _empty_database() -> bytes:
    """Return a database with its tables; made once, it is copied for each service."""
    with tempfile.TemporaryDirectory() as folder:
        given = {**_ENVIRONMENT, "WECHAT_DATABASE_URL": f"sqlite:///{folder}/wechat.db"}
        app = create_app(config.load(given, Path("/dev/null")), table=Table({}))
        with app.app_context():
            db.create_all()
            with db.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            db.engine.dispose()
        return Path(folder, "wechat.db").read_bytes()


class _Played(BaseAdapter):
    """Answers calls of the API in this process."""

    def __init__(self, wechat: WeChat, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url
        app = Flask("sandbox", static_folder=None)
        app.register_blueprint(sandbox_api(wechat))
        self._app = app

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Return the played WeChat's answer."""
        url = str(request.url)
        headers = {name: str(value) for name, value in request.headers.items() if name != "Content-Length"}
        answer = self._app.test_client().open(
            url.removeprefix(self._base_url), method=request.method, headers=headers, data=request.body
        )
        response = requests.Response()
        response.status_code, response.url, response.request = answer.status_code, url, request
        response.headers = CaseInsensitiveDict(answer.headers)
        response._content = answer.data
        return response

    def close(self) -> None:
        """Do nothing: nothing is open."""
