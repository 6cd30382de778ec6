"""The WSGI application for any server; run as a script, the development server."""

import preload  # noqa: F401, I001 (first: it takes the working directory out of the path)

import logging
import os
import sys

from werkzeug.serving import run_simple

from app import create_app
from app.errors import ConfigError

try:
    application = create_app()
except ConfigError as error:
    if __name__ == "__main__":
        sys.exit(str(error))
    raise

if __name__ == "__main__":
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8111"))
    # Its own lines hold the query with its signature, and a message has its line anyway.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    print(f"development server on http://{host}:{port}{application.config['WECHAT_PATH']}", file=sys.stderr, flush=True)
    run_simple(host, port, application, threaded=True)
