"""SAE's constants: all of them texts, the port too."""

import os

MYSQL_DB = os.environ["STAND_IN_MYSQL_DB"]
MYSQL_USER = os.environ["STAND_IN_MYSQL_USER"]
MYSQL_PASS = os.environ["STAND_IN_MYSQL_PASS"]
MYSQL_HOST = os.environ["STAND_IN_MYSQL_HOST"]
MYSQL_PORT = os.environ["STAND_IN_MYSQL_PORT"]
