"""YOURS: what the account answers. One row of HANDLERS for each thing; the README tells what a key can be."""

import re

from app.handlers import chat, samples  # noqa: F401 (chat waits for its row)

HANDLERS = {
    "text": samples.echo,  # any text; chat.answer instead talks with a model
    ("text", "帮助"): samples.show_help,  # exactly this text
    ("text", re.compile(r"天气\s*(?P<city>\S+)")): samples.weather,  # message.match holds the match
    ("text", "猜数字"): samples.start_game,
    ("text", re.compile(r"[0-9]{1,3}")): samples.guess,
    ("event", "subscribe"): samples.welcome,  # every follow, also by QR code
    ("event", "scan", "poster-7"): samples.poster,  # the QR code "poster-7", scanned by a follower
    ("event", "subscribe", "poster-7"): samples.poster,  # and by somebody who follows with it
    ("event", "click", "V1001_TODAY"): samples.today,  # the menu's button with this key
    "image": samples.same_image,
    "event": samples.note_event,  # any other event
    "*": samples.fallback,  # anything else
}

MIDDLEWARE = [samples.warn_when_slow]  # outermost first
