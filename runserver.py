"""The WSGI application for any server; run as a script, the development server."""

import os
import sys

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
    application.run(host, port, threaded=True, load_dotenv=False)
