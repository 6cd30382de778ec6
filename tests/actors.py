"""WeChat's side of an application under test."""

import sys
import types
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app import create_app
from app.callback.seal import Seal
from app.config import Settings
from app.sandbox.messages import event_message, text_message
from app.sandbox.phone import FAILURE_NOTICE, Phone

OPENID = "oTestFan00000000000000000000"
MODULE = "handlers_under_test"


class Account:
    """An application with its handlers, and one fan who writes to it."""

    def __init__(self, settings: Settings, handlers: Any, middleware: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        if handlers is not None:
            module = types.ModuleType(MODULE)
            vars(module).update(HANDLERS=handlers, MIDDLEWARE=middleware)
            monkeypatch.setitem(sys.modules, MODULE, module)
            object.__setattr__(settings, "handlers", MODULE)
        self.settings = settings
        self.app = create_app(settings)
        self.app.testing = True
        self.client = self.app.test_client()
        self.phone = self.another_fan(OPENID)

    def another_fan(self, openid: str) -> Phone:
        seal = Seal(self.settings.encoding_aes_key, self.settings.appid) if self.settings.encoding_aes_key else None
        return Phone("", self.settings.token, openid, self.settings.encrypt_mode, seal)

    def post(self, query: Any, body: bytes) -> TestResponse:
        return self.client.post(self.settings.path, query_string=query, data=body, content_type="text/xml")

    def deliver(self, message: str, phone: Phone | None = None) -> str:
        """Deliver the XML ``message`` once and return what the fan sees."""
        phone = phone or self.phone
        response = self.post(*phone.envelope(message))
        if response.status_code != 200:
            return f"{FAILURE_NOTICE} ({response.status_code})"
        outcome = phone.judge(response.data)
        return outcome.shown + (f" ({outcome.reason})" if outcome.reason else "")

    def say(self, text: str) -> str:
        return self.deliver(text_message(OPENID, text))

    def event(self, event: str, key: str | None = None, scene: str | None = None) -> str:
        return self.deliver(event_message(OPENID, event, key, scene))
