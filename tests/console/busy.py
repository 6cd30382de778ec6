"""An account's database after a busy day: 100,000 messages, 1,000 QR codes, fans, and a menu that changed often."""

import json
import math
import random
import time
from collections import Counter
from pathlib import Path

from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import insert

from app.api.menu import as_text
from app.store import db, open_store
from app.store.migrate import add_migrations
from app.store.models import Fan, Figures, MenuRevision, QrCode, SceneCount

MESSAGES, CODES, DAYS = 100_000, 1_000, 30
LONG = "一个很长很长的名字，长到在手机上一行放不下，in two languages, and without_any_space_where_it_could_be_broken"
MENU = {
    "button": [
        {"type": "click", "name": "今日优惠", "key": "V1001_TODAY"},
        {
            "name": "会员",
            "sub_button": [
                {"type": "view", "name": "会员中心", "url": "https://example.com/member"},
                {"type": "click", "name": "我的积分和最近三个月的订单", "key": "V1001_TODAY"},
                {"type": "scancode_waitmsg", "name": "扫码领券", "key": "COUPON"},
            ],
        },
        {
            "type": "miniprogram",
            "name": "商城",
            "url": "https://example.com/",
            "appid": "wx1",
            "pagepath": "pages/index",
        },
    ],
    "conditionalmenu": [
        {"button": [{"type": "click", "name": "iOS 专享", "key": "IOS"}], "matchrule": {"client_platform_type": "1"}}
    ],
}
_BOUNDS = ("0.01", "0.05", "0.1", "0.5", "1.0", "2.5", "4.5", "5.0", "10.0", "15.0", "30.0", "60.0", "+Inf")
_WITHIN = (0.2, 0.5, 0.7, 0.83, 0.9, 0.96, 0.985, 0.987, 0.995, 0.997, 0.999, 1.0, 1.0)


def fill(folder: Path, appid: str, fans: int) -> None:
    """Make ``wechat.db`` in ``folder/instance``, as it is after the day that ends now."""
    app = Flask("busy")
    open_store(app, f"sqlite:///{folder}/instance/wechat.db")
    add_migrations(app)
    chance, now = random.Random(7), int(time.time())
    with app.app_context():
        upgrade()
        with db.engine.begin() as connection:
            connection.execute(insert(Figures), _figures(appid, chance, now))
            connection.execute(insert(QrCode), _codes(appid, chance, now))
            connection.execute(insert(SceneCount), _scene_counts(appid, chance, now))
            connection.execute(insert(Fan), _fans(appid, chance, now, fans))
            connection.execute(insert(MenuRevision), _revisions(appid, now))
        db.engine.dispose()


def _figures(appid: str, chance: random.Random, now: int) -> list[dict[str, object]]:
    minutes = range(now // 60 - 24 * 60 - 10, now // 60)
    weights = [1.2 + math.sin((minute % 1440) / 1440 * 2 * math.pi) + chance.random() / 2 for minute in minutes]
    counts: Counter[str] = Counter()
    rows = []
    for minute, weight in zip(minutes, weights, strict=True):
        came = round(weight / sum(weights) * MESSAGES)
        shares = {"messages/text": 0.7, "messages/event": 0.2, "messages/image": 0.07, "messages/voice": 0.03}
        shares |= {
            "deliveries/first": 1,
            "deliveries/second": 0.02,
            "deliveries/third": 0.006,
            "outcomes/replied": 0.98,
        }
        shares |= {"late/customer_service": 0.004, "late/next_message": 0.001, "outcomes/failed": 0.002}
        shares |= {"calls//cgi-bin/message/custom/send": 0.004, "calls//cgi-bin/media/upload": 0.002}
        shares |= {"errcodes/0": 0.006, "errcodes/45015": 0.0003, "refused/signature": 0.001, "refused/stale": 0.0004}
        shares |= {f"seconds/{bound}": within for bound, within in zip(_BOUNDS, _WITHIN, strict=True)}
        counts.update({name: math.floor(came * share + chance.random()) for name, share in shares.items()})
        rows.append({"appid": appid, "source": "wechat-1", "minute": minute + 1, "content": json.dumps(counts)})
    return rows


def _codes(appid: str, chance: random.Random, now: int) -> list[dict[str, object]]:
    rows = []
    for number in range(CODES):
        seconds = chance.choice((0, 0, 3600, 2592000))
        made = now - chance.randrange(60 * 86400)
        row = {"appid": appid, "kind": "str", "scene": _scene(number), "expire_seconds": seconds, "created_at": made}
        row |= {
            "ends_at": made + seconds if seconds else 0,
            "ticket": f"ticket{number}",
            "claim": None,
            "claimed_at": 0,
        }
        rows.append(row | {"url": f"http://weixin.qq.com/q/02{number:06}abcdefgh"})
    return rows


def _scene(number: int) -> str:
    return f"门店-{number:04}" if number else LONG[:64]


def _scene_counts(appid: str, chance: random.Random, now: int) -> list[dict[str, object]]:
    days = [time.strftime("%Y-%m-%d", time.localtime(now - 86400 * day)) for day in range(DAYS)]
    return [
        {
            "appid": appid,
            "scene": _scene(number),
            "day": day,
            "scans": chance.randrange(40),
            "follows": chance.randrange(9),
        }
        for number in range(CODES)
        for day in days
    ]


def _fans(appid: str, chance: random.Random, now: int, count: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for number in range(count):
        at = now - chance.randrange(86400 * 90)
        row = {"appid": appid, "openid": f"oFan{number:024}", "unionid": None, "headimgurl": None}
        name = LONG if number == 1 else f"用户{number}" if number % 3 else None
        rows.append(row | {"nickname": name, "first_login_at": at - 86400, "last_login_at": at})
    return rows


def _revisions(appid: str, now: int) -> list[dict[str, object]]:
    notes = {29: "国庆活动", 30: LONG[:100]}
    return [
        {
            "appid": appid, "number": number, "created_at": now - (30 - number) * 7 * 86400, "author": "小王",
            "note": notes.get(number, ""), "content": as_text(MENU), "current": True if number == 30 else None,
            "pushing": None,
        }
        for number in range(1, 31)
    ]  # fmt: skip
