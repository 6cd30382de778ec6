"""QR codes that an account has, and what the console's pages show of them."""

import re
import time
from datetime import date, timedelta
from html import unescape
from typing import Any

from sqlalchemy import event

from app.store import db, transaction
from app.store.models import QrCode, SceneCount
from tests.console.conftest import Operator, readable

DAY, MONTH = 86400, 2592000
TICKET = "gQFK8DwAAAAAAA"


def add(operator: Operator, *scenes: str, **more: Any) -> list[int]:
    """Keep a permanent code for each scene, as WeChat made it, and return their ids."""
    now = int(time.time())
    made = {"appid": operator.account.settings.account, "kind": "str", "expire_seconds": 0, "ends_at": 0}
    made |= {"ticket": TICKET, "url": "http://weixin.qq.com/q/02TestAA", "created_at": now, "claimed_at": now}
    with operator.app.app_context(), transaction() as session:
        rows = [QrCode(**{**made, "scene": scene, **more}) for scene in scenes]
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


def count(operator: Operator, scene: str, days_ago: int, scans: int, follows: int) -> None:
    day = (date.today() - timedelta(days_ago)).isoformat()
    appid = operator.account.settings.account
    with operator.app.app_context(), transaction() as session:
        session.add(SceneCount(appid=appid, scene=scene, day=day, scans=scans, follows=follows))


def listed(page: str) -> list[str]:
    """Return what can be read in each row of the list."""
    return [readable(row) for row in re.findall(r"<tr>\s*<td>.*?</tr>", page, re.DOTALL)]


def printed(page: str) -> list[str]:
    """Return the scenes below the pictures of a sheet."""
    return [unescape(scene) for scene in re.findall(r'<li><img class="qr"[^>]*>([^<]*)</li>', page)]


def statements(operator: Operator, path: str) -> int:
    """Return how often the database is asked for the page."""
    asked: list[str] = []
    with operator.app.app_context():
        engine = db.engine

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    operator.get(path)
    event.remove(engine, "before_cursor_execute", note)
    return len(asked)
