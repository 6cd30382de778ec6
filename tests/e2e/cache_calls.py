"""A WSGI application, for the test of uWSGI's cache, that makes the call of app.cache that the body names."""

import json
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import log
from app.cache import connect
from tests.servers import APPID

log.configure("INFO", "json")
CACHE = connect("uwsgi://wechat", APPID)


def application(environ: Any, start_response: Any) -> Iterable[bytes]:
    name, *arguments = json.loads(environ["wsgi.input"].read())
    result = json.dumps(attrgetter(name)(CACHE)(*arguments)).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(result)))])
    return [result]
