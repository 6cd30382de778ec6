"""Handlers to read in a minute and to replace with your own: each takes the message and returns the answer."""

import datetime
import logging
import random
import time
from collections.abc import Callable
from typing import Any

from flask import current_app
from wechatpy.replies import ImageReply

logger = logging.getLogger(__name__)
SLOW_SECONDS = 2.0


def echo(message: Any) -> str:
    return message.content or ""


def show_help(message: Any) -> str:
    return "试试：天气 北京、猜数字，或发一张图片"


def weather(message: Any) -> str:
    return f"{message.match['city']}：晴，25 度"


def start_game(message: Any) -> str:
    message.session["number"] = random.randint(1, 100)  # noqa: S311 (a game)
    return "我想好了一个 1 到 100 的数，猜猜看"


def guess(message: Any) -> str:
    number = message.session.get("number")
    if number is None:
        return echo(message)
    if int(message.content) == number:
        del message.session["number"]
        return f"猜对了，就是 {number}！"
    return "小了" if int(message.content) < number else "大了"


def welcome(message: Any) -> str:
    return f"欢迎关注！你来自 {message.scene}" if message.scene else "欢迎关注！"


def poster(message: Any) -> list[dict[str, str]]:
    return [
        {
            "title": "七号海报",
            "description": "感谢扫码",
            "image": "https://example.com/poster-7.png",
            "url": "https://example.com/poster-7",
        }
    ]


def today(message: Any) -> str:
    return f"今天是 {datetime.date.today():%Y-%m-%d}"


def same_image(message: Any) -> ImageReply:
    return ImageReply(media_id=message.media_id)


def note_event(message: Any) -> None:
    logger.info("event %s", message.event)


def fallback(message: Any) -> str:
    return str(current_app.config["WECHAT_DEFAULT_REPLY"])


def warn_when_slow(message: Any, call_next: Callable[[Any], Any]) -> Any:
    started = time.monotonic()
    value = call_next(message)
    if (seconds := time.monotonic() - started) > SLOW_SECONDS:
        logger.warning("%s took %.1f s", message.msg_type, seconds)
    return value
