"""Handlers whose module is never loaded to its end."""

import threading
from pathlib import Path

Path("loading").touch()
threading.Event().wait()
