"""A message of the phone as a test of its handler, for ``app.testing``."""

import math
import re
from typing import Any

from app.callback.xml import Fields, read
from app.config import Settings
from app.sandbox.conversation import shown
from app.sandbox.trace import Trace

_NAMED_BY = ("MsgType", "Event", "EventKey", "Content")
_QR_PREFIX = "qrscene_"
_DEFAULT_REPLY = Settings(token="").default_reply


def as_test(trace: Trace, settings: Settings) -> str:
    """Return the test; "" where it would expect nothing, a failure, or what other messages led to."""
    answer = trace.answer
    late = [shown(one) for one in trace.late]
    if trace.fault or answer is None or answer["is_failure"] or any("picked up" in line for line in trace.lines):
        return ""
    stand_ins = {settings.error_reply, settings.busy_reply, settings.hold_reply}
    if not (answer["shown"] or late) or stand_ins & {answer["shown"], *late}:
        return ""
    fields = read(trace.xml.encode())
    package, _, module = settings.handlers.rpartition(".")
    given = [module]
    if trace.session:
        given.append(f"session={trace.session!r}")
    if settings.default_reply != _DEFAULT_REPLY:
        given.append(f"WECHAT_DEFAULT_REPLY={settings.default_reply!r}")
    lines = [
        "from app.testing import Fan",
        "",
        f"from {package} import {module}" if package else f"import {module}",
        "",
        "",
        f"def test_{_name(fields)}():",
        f"    fan = Fan({', '.join(given)})",
        f"    assert fan.{_act(fields, trace.xml)} == {answer['shown']!r}",
    ]
    if late:
        if (seconds := math.ceil(trace.late[-1]["at"] - answer["at"])) > 0:
            lines.append(f"    fan.passes(seconds={seconds + 1})")
        lines.append(f"    assert fan.late == {late!r}")
    return "\n".join(lines) + "\n"


def _name(fields: Fields) -> str:
    named = "_".join(str(fields[name]) for name in _NAMED_BY if fields.get(name))
    return re.sub(r"\W+", "_", named.lower()).strip("_")[:60]


def _act(fields: Fields, xml: str) -> str:
    """Return what the fan does, as a call."""
    msg_type, event = str(fields["MsgType"]), str(fields.get("Event", "")).lower()
    key: Any = fields.get("EventKey") or ""
    of_event = {
        "subscribe": f"follows({key.removeprefix(_QR_PREFIX)!r})" if key else "follows()",
        "unsubscribe": "unfollows()",
        "scan": f"scans({key!r})",
        "click": f"clicks({key!r})",
        "view": f"does('VIEW', {key!r})",
    }
    of_type = {
        "text": lambda: f"says({fields['Content']!r})",
        "image": lambda: f"sends_image(media_id={fields['MediaId']!r})",
        "voice": lambda: f"sends_voice({fields.get('Recognition') or ''!r}, media_id={fields['MediaId']!r})",
        "video": lambda: f"sends_video(media_id={fields['MediaId']!r})",
        "location": lambda: (
            f"sends_location({float(str(fields['Location_X']))}, {float(str(fields['Location_Y']))}, "
            f"{fields.get('Label') or ''!r})"
        ),
        "link": lambda: f"sends_link({fields['Title']!r}, {fields['Url']!r}, {fields.get('Description') or ''!r})",
    }
    if msg_type == "event":
        return of_event.get(event) or f"sends({xml!r})"
    return of_type[msg_type]() if msg_type in of_type else f"sends({xml!r})"
