"""A conversation with a model on any server that speaks OpenAI's chat completions: ``"text": chat.answer``."""

import asyncio
import importlib
import json
import logging
import re
import threading
from contextlib import suppress
from functools import cache
from typing import Any

from flask import current_app

from app.config import TEXT_LIMIT_BYTES

# For the whole answer. Less than the 60 s that uWSGI leaves a running handler at a reload.
TIMEOUT_SECONDS = 50.0
RETRY_SECONDS = 1.0
# What is kept of a dialogue, and sent along with the next question: the last turns, each a question and its answer.
MAX_TURNS = 10
MAX_BYTES = 8000

# Why there is no answer (a word, or the server's status): what the fan reads, and what the log tells the operator.
_FAILURES: dict[str | int, tuple[str, str]] = {
    "not set up": ("对话功能还没有开通", "set WECHAT_CHAT_BASE_URL and WECHAT_CHAT_MODEL"),
    "not installed": ("对话功能还没有装好", "run .venv/bin/pip install -r requirements.txt"),
    "not reached": ("现在连不上对话服务，请稍后再试", "check WECHAT_CHAT_BASE_URL, and this machine's way to it"),
    "too slow": ("这个问题想得太久了，请稍后再试，或者问得简单些", "choose a faster model, or ask for shorter answers"),
    "not understood": ("对话服务的回答有误，请稍后再试", "check WECHAT_CHAT_BASE_URL; most end in /v1"),
    "empty": ("这个问题我答不上来，请换个说法", "the model said nothing; finish_reason may tell why"),
    400: ("这句话对话服务没有接受，请换个说法", "it refuses the content, the length, or the name in WECHAT_CHAT_MODEL"),
    401: ("对话服务的密钥不对，请告诉公众号的管理员", "check WECHAT_CHAT_API_KEY"),
    402: ("对话服务的余额不足，请告诉公众号的管理员", "top up the account at the model's provider"),
    403: ("对话服务没有授权，请告诉公众号的管理员", "the key in WECHAT_CHAT_API_KEY may not use WECHAT_CHAT_MODEL"),
    404: ("对话服务没有这个模型，请告诉公众号的管理员", "check WECHAT_CHAT_MODEL and WECHAT_CHAT_BASE_URL"),
    429: ("问的人太多了，请过一会儿再试", "too many requests, or the quota at the model's provider is used up"),
    500: ("对话服务出了故障，请稍后再试", "the failure is the server's"),
}
_THINKING = re.compile(r"<(/?)(?:think|thinking|thought|reasoning|details)\b[^<>]*>", re.IGNORECASE)
_making = threading.Lock()
logger = logging.getLogger(__name__)


class _NoAnswer(Exception):
    """The reason, a key of _FAILURES, and what else the log says."""


def answer(message: Any) -> str:
    """Return what the model says to a text and to the dialogue before it, or to the fan why it says nothing."""
    dialogue = message.session.get("chat", [])
    question = {"role": "user", "content": _cut(message.content or "")}
    try:
        text = _ask([*dialogue, question])
    except _NoAnswer as failure:
        reason, detail = failure.args
        reply, advice = _FAILURES[reason]
        logger.warning("no answer from the model, %s (%s): %s", reason, detail, advice)
        return reply
    # Cut, as the fan sees it: the next question may be how it goes on.
    message.session["chat"] = _bounded([*dialogue, question, {"role": "assistant", "content": _cut(text)}])
    return text


def _ask(dialogue: list[dict[str, str]]) -> str:
    base_url, api_key, model, prompt = (
        current_app.config[f"WECHAT_CHAT_{name}"] for name in ("BASE_URL", "API_KEY", "MODEL", "PROMPT")
    )
    if not base_url or not model:
        raise _NoAnswer("not set up", "a setting is missing")
    try:
        with _making:
            line = _line_to(base_url, api_key)
    except ImportError as error:
        raise _NoAnswer("not installed", _types(error)) from error
    return _text(line.complete(model=model, messages=[{"role": "system", "content": prompt}, *dialogue]))


class _Line:
    """The line to one server, one a process: the client, and the thread that it lives in."""

    def __init__(self, base_url: str, api_key: str) -> None:
        # Only when somebody asks: it takes a second, and 30 MB.
        self.openai = importlib.import_module("openai")
        # It insists on a key, which a server of one's own may not need. Its own retries would wait for as long as the
        # server's Retry-After says, up to two minutes.
        self.client = self.openai.AsyncOpenAI(base_url=base_url, api_key=api_key or "none", max_retries=0)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="chat", daemon=True)
        self.thread.start()
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # or each request logs a line with the whole URL

    def complete(self, **request: Any) -> Any:
        """Return the server's completion; raises _NoAnswer."""
        # A task can be ended at any point. The timeout of the client without asyncio is for one read each, and a busy
        # server may send empty lines for minutes: https://api-docs.deepseek.com/quick_start/rate_limit
        bounded = asyncio.wait_for(self._attempts(request), TIMEOUT_SECONDS)
        try:
            return asyncio.run_coroutine_threadsafe(bounded, self.loop).result()
        except TimeoutError as error:
            raise _NoAnswer("too slow", f"{TIMEOUT_SECONDS:g} s") from error
        except self.openai.APIStatusError as error:
            status = error.status_code
            reason = status if status in _FAILURES else 500 if status > 500 else 400
            raise _NoAnswer(reason, f"{type(error).__name__}, status {status}, code {str(error.code)[:40]}") from error
        except self.openai.APIConnectionError as error:
            raise _NoAnswer("not reached", _types(error)) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _NoAnswer("not understood", _types(error)) from error

    async def _attempts(self, request: dict[str, Any]) -> Any:
        with suppress(self.openai.APIConnectionError, self.openai.InternalServerError):
            return await self.client.chat.completions.create(**request)
        await asyncio.sleep(RETRY_SECONDS)
        return await self.client.chat.completions.create(**request)


_line_to = cache(_Line)


def _text(completion: Any) -> str:
    try:
        choice = completion.choices[0]
        content, finish_reason = choice.message.content, choice.finish_reason
    except (AttributeError, LookupError, TypeError) as error:
        raise _NoAnswer("not understood", _types(error)) from error
    text = content if isinstance(content, str) else ""
    text = (
        _without_thinking(text).encode(errors="ignore").decode().strip()
    )  # without halves of characters, which JSON can hold
    if not text:
        raise _NoAnswer("empty", f"finish_reason {str(finish_reason)[:40]}")
    return text


def _without_thinking(text: str) -> str:
    """Drop what a model thought before its answer; one that was cut off while it thought has none."""
    kept: list[str] = []
    at, depth = 0, 0
    for tag in _THINKING.finditer(text):
        if tag[1]:
            if depth == 0:  # the opening tag was in the prompt's template: all so far is thinking
                kept.clear()
        elif depth == 0:
            kept.append(text[at : tag.start()])
        depth = max(depth - 1, 0) if tag[1] else depth + 1
        at = tag.end()
    return "".join([*kept, text[at:]] if depth == 0 else kept)


def _cut(text: str) -> str:
    return text.encode(errors="ignore")[:TEXT_LIMIT_BYTES].decode(errors="ignore")


def _bounded(dialogue: list[dict[str, str]]) -> list[dict[str, str]]:
    dialogue = dialogue[-2 * MAX_TURNS :]
    while sum(len(said["content"].encode()) for said in dialogue) > MAX_BYTES:
        dialogue = dialogue[2:]
    return dialogue


def _types(error: BaseException | None) -> str:
    # The types alone: an exception's text may quote the fan, the model or the key.
    names = []
    while error:
        names.append(type(error).__name__)
        error = error.__cause__ or error.__context__
    return " from ".join(names)
