"""The packages that every worker needs: uWSGI's master imports this, so that its workers share their memory."""

import sys

# uWSGI looks for modules in the working directory first, whatever Python was told.
if sys.flags.safe_path:
    sys.path[:] = [folder for folder in sys.path if folder not in ("", ".")]

import asyncio  # noqa: F401
import gc
import sqlite3  # noqa: F401
import xml.etree.ElementTree  # noqa: F401

import cachelib  # noqa: F401
import dotenv  # noqa: F401
import flask_sqlalchemy  # noqa: F401
import prometheus_client.multiprocess  # noqa: F401
import requests  # noqa: F401
import sqlalchemy.dialects.mysql
import sqlalchemy.dialects.sqlite  # noqa: F401
import wechatpy.client
import wechatpy.crypto
import wechatpy.events
import wechatpy.messages
import wechatpy.replies  # noqa: F401

gc.freeze()  # a worker's garbage collector would write to each object, and have a copy of its own
