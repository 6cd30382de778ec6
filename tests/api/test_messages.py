"""Customer-service messages: what is sent of a value, and how many may follow what a fan did."""

import copy
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from wechatpy.replies import (
    ArticlesReply,
    DeviceTextReply,
    EmptyReply,
    ImageReply,
    MusicReply,
    TextReply,
    TransferCustomerServiceReply,
    VideoReply,
    VoiceReply,
)

from app.api import get_api, send
from app.api.messages import parts
from app.callback.parse import parse
from app.callback.xml import read
from app.errors import ApiError, BadReply
from app.sandbox.messages import event_message, text_message
from tests.wechat_server import WeChatServer

OPENID = "oFan"
SEND_PATH = "/cgi-bin/message/custom/send"
ARTICLE = {"title": "标题", "description": "说明", "image": "https://example.com/1.png", "url": "https://example.com"}
SENT_ARTICLE = {"title": "标题", "description": "说明", "picurl": ARTICLE["image"], "url": ARTICLE["url"]}
MUSIC = {"title": "歌", "description": "说明", "thumb_media_id": "t"}
VALUES: list[tuple[Any, dict[str, Any]]] = [
    ("你好", {"msgtype": "text", "text": {"content": "你好"}}),
    (TextReply(content="你好"), {"msgtype": "text", "text": {"content": "你好"}}),
    (ImageReply(media_id="m"), {"msgtype": "image", "image": {"media_id": "m"}}),
    (VoiceReply(media_id="m"), {"msgtype": "voice", "voice": {"media_id": "m"}}),
    (
        VideoReply(media_id="m", title="片", description="说明"),
        {"msgtype": "video", "video": {"media_id": "m", "title": "片", "description": "说明"}},
    ),
    (
        MusicReply(music_url="https://example.com/a.mp3", hq_music_url="https://example.com/b.mp3", **MUSIC),
        {"msgtype": "music", "music": {"musicurl": "https://example.com/a.mp3", **MUSIC}
         | {"hqmusicurl": "https://example.com/b.mp3"}},
    ),
    (ArticlesReply(articles=[ARTICLE]), {"msgtype": "news", "news": {"articles": [SENT_ARTICLE]}}),
    ([ARTICLE], {"msgtype": "news", "news": {"articles": [SENT_ARTICLE]}}),
    (
        ({"title": "标题"},),
        {"msgtype": "news", "news": {"articles": [{"title": "标题"}]}},
    ),
]  # fmt: skip
BAD: list[Any] = [
    *(TransferCustomerServiceReply(), DeviceTextReply(content="x"), 42, 0, True, b"x", {"title": "x"}, object()),
    *(
        TextReply(),
        ImageReply(),
        VoiceReply(),
        VideoReply(),
        VideoReply(title="x"),
        MusicReply(),
        MusicReply(title="x"),
    ),
    *(["x"], [{}], [{"url": "https://example.com"}], [{"title": "x", "picurl": "https://example.com"}]),
]


class Clock:
    """The time of both sides, which stands until the test moves it."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


class Fan:
    """Somebody of whose doings WeChat knows, and the service hears."""

    def __init__(self, server: WeChatServer, clock: Clock) -> None:
        self._server, self._clock = server, clock

    def writes(self) -> None:
        self._does(None, text_message(OPENID, "在吗"))

    def clicks_in_a_message(self) -> None:
        """Let the fan click on a menu message, which comes as a text."""
        click = text_message(OPENID, "满意").replace("</xml>", "<bizmsgmenuid>101</bizmsgmenuid></xml>")
        self._does("click", click)

    def does(self, event: str) -> None:
        """Let the fan do what the event says."""
        self._does(event, event_message(OPENID, event, key="A"))

    def _does(self, event: str | None, message: str) -> None:
        self._clock.now += 1
        self._server.wechat.heard(OPENID, event)
        get_api().budget.note(parse(read(message.encode())))

    @property
    def got(self) -> str:
        """The text that arrived, all messages together."""
        return "".join(message["text"]["content"] for message in self._server.wechat.messages)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.api.messages.time.time", clock)
    return clock


@pytest.fixture
def fan(app: Flask, server: WeChatServer, clock: Clock) -> Iterator[Fan]:
    with app.app_context():
        yield Fan(server, clock)


def left() -> int | None:
    return get_api().budget.left(OPENID)


def refused(value: Any = "你好") -> ApiError:
    """Send what will be refused, and return how."""
    with pytest.raises(ApiError) as error:
        send(OPENID, value)
    return error.value


def far_away(call: Callable[..., Any]) -> Callable[..., Any]:
    """Let the answer of a cache come as late as from another machine."""

    def answered(*args: Any) -> Any:
        answer = call(*args)
        threading.Event().wait(0.001)
        return answer

    return answered


def let_wechat_take(server: WeChatServer, count: int) -> None:
    """Let WeChat take fewer messages after this fan's than it says."""
    with server.wechat.state.changed() as account:
        account["fans"][OPENID]["message"][1] = count


@pytest.mark.parametrize(("value", "sent"), VALUES, ids=lambda value: type(value).__name__)
def test_what_a_handler_may_return_arrives(value: Any, sent: Any, fan: Fan, server: WeChatServer) -> None:
    fan.writes()
    before = copy.deepcopy(getattr(value, "_data", value))
    assert send(OPENID, value) == 1
    told = ("number", "at")
    messages = [{name: value for name, value in one.items() if name not in told} for one in server.wechat.messages]
    assert messages == [{"touser": OPENID, **sent}]
    assert getattr(value, "_data", value) == before  # it may be a constant that others send, too


@pytest.mark.parametrize("kind", [list, lambda articles: ArticlesReply(articles=articles)], ids=["list", "reply"])
def test_of_several_articles_the_first_arrives_and_the_log_says_so(
    kind: Callable[..., Any], fan: Fan, server: WeChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    fan.writes()
    assert send(OPENID, kind([ARTICLE, {"title": "二"}, {"title": "三"}])) == 1
    assert server.wechat.messages[0]["news"]["articles"] == [SENT_ARTICLE]
    assert "from 3 to 1" in caplog.text


@pytest.mark.parametrize(
    "value",
    [None, "", [], (), EmptyReply(), TextReply(content=""), ArticlesReply(articles=[])],
    ids=lambda value: f"{type(value).__name__}",
)
def test_nothing_is_sent_of_nothing(value: Any, fan: Fan, server: WeChatServer) -> None:
    fan.writes()
    assert send(OPENID, value) == 0
    assert (server.wechat.calls, left()) == ([], 5)


@pytest.mark.parametrize("value", BAD, ids=lambda value: type(value).__name__)
def test_what_cannot_be_sent_is_refused_before_any_call(value: Any, fan: Fan, server: WeChatServer) -> None:
    fan.writes()
    before = copy.deepcopy(getattr(value, "_data", None))
    with pytest.raises(BadReply, match=r"expected|has no"):
        send(OPENID, value)
    assert (server.wechat.calls, left()) == ([], 5)
    assert getattr(value, "_data", None) == before


PIECES = st.tuples(st.text("好é😀a1。. \n，\u3000", min_size=1, max_size=6) | st.text(max_size=6), st.integers(1, 700))


@settings(deadline=None)
@given(st.lists(PIECES, max_size=4).map(lambda pieces: "".join(piece * count for piece, count in pieces)))
def test_parts_are_short_enough_and_nothing_is_lost(text: str) -> None:
    cut = parts(text)
    assert all(0 < len(part.encode()) <= 2048 for part in cut)
    assert text.startswith(whole := "".join(cut))
    assert not text[len(whole) :].strip()


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("好" * 682 + "ab", [684]),  # 2048 bytes
        ("好" * 682 + "abc", [684, 1]),
        ("a" * 2047 + "好", [2047, 1]),
        ("a" * 2045 + "😀", [2045, 1]),
        ("😀" * 600, [512, 88]),
        ("好" * 400 + "\n" + "好" * 100 + "。" + "好" * 50 + "，" + "好" * 400, [401, 552]),
        ("好" * 400 + "！" + "好" * 50 + "，" + "好" * 400, [401, 451]),
        ("word " * 500, [2045, 455]),
        ("好" * 400 + "，" + "好" * 400, [401, 400]),
        ("x\n" + "y" * 3000, [2048, 954]),  # a line of one character is no message
        ("\ud800" + "a" * 3000, [2048, 953]),
        ("a" * 2048 + " \n" * 10, [2048]),
    ],
)
def test_a_text_is_cut_at_the_end_of_a_line_a_sentence_or_a_word(text: str, lengths: list[int]) -> None:
    assert [len(part) for part in parts(text)] == lengths


@pytest.mark.parametrize("value", ["你好，😀。\n" * 200, TextReply(content="你好，😀。\n" * 200)], ids=["str", "reply"])
def test_a_long_text_arrives_in_parts(value: Any, fan: Fan) -> None:
    fan.writes()
    assert send(OPENID, value) == 2
    assert (fan.got, left()) == ("你好，😀。\n" * 200, 3)


def test_five_may_follow_a_message_and_five_more_the_next(fan: Fan, server: WeChatServer) -> None:
    for _ in range(2):
        fan.writes()
        for number in range(5):
            assert left() == 5 - number
            assert send(OPENID, "你好") == 1
        assert left() == 0
        assert refused().errcode == 45047
    assert server.calls_of(SEND_PATH) == [0] * 10


@pytest.mark.parametrize("event", ["click", "subscribe", "scan"])
def test_three_may_follow_a_click_a_follow_and_a_scan_for_a_minute(
    event: str, fan: Fan, server: WeChatServer, clock: Clock
) -> None:
    for _ in range(2):
        fan.does(event)
        assert [(left(), send(OPENID, "你好")) for _ in range(3)] == [(3, 1), (2, 1), (1, 1)]
        assert (left(), refused().errcode) == (0, 45047)
    assert server.calls_of(SEND_PATH) == [0] * 6
    fan.does(event)
    clock.now += 59.9
    assert left() == 3
    clock.now += 0.1
    assert left() is None


def test_other_events_open_nothing(fan: Fan) -> None:
    for event in ("VIEW", "LOCATION"):
        fan.does(event)
        assert left() is None


def test_who_leaves_gets_nothing_more(fan: Fan, server: WeChatServer) -> None:
    fan.writes()
    fan.does("unsubscribe")
    assert left() == 0
    with pytest.raises(ApiError, match="45015"):
        send(OPENID, "hi")
    assert server.calls_of("/cgi-bin/message/custom/send") == []


@pytest.mark.parametrize("event", ["scancode_push", "scancode_waitmsg"])
def test_a_button_that_scans_opens_the_window_of_a_click(event: str, fan: Fan) -> None:
    fan.does(event)
    assert left() == 3


def test_a_window_that_the_fan_opens_while_a_message_is_refused_stays_open(fan: Fan, clock: Clock) -> None:
    api = get_api()
    fan.writes()
    clock.now += 5
    fan.writes()
    api.budget.close(OPENID, 45047, since=clock.now - 1)
    assert left() == 5


def test_a_message_is_followed_for_48_hours(fan: Fan, clock: Clock) -> None:
    fan.writes()
    clock.now += 48 * 3600 - 0.1
    assert (left(), send(OPENID, "你好"), left()) == (5, 1, 4)
    clock.now += 0.1
    assert left() is None


def test_what_ends_first_is_used_first(fan: Fan, server: WeChatServer, clock: Clock) -> None:
    fan.writes()
    fan.does("click")
    assert (left(), get_api().budget.left("oSomebodyElse")) == (8, None)
    assert send(OPENID, "好" * (682 * 3 + 1)) == 4
    assert left() == 4
    clock.now += 60
    assert (left(), send(OPENID, "好" * (682 * 3 + 1)), left()) == (4, 4, 0)
    assert server.calls_of(SEND_PATH) == [0] * 8


def test_a_text_that_is_longer_than_what_is_left_is_not_begun(fan: Fan, server: WeChatServer) -> None:
    fan.writes()
    error = refused("好" * (682 * 5 + 1))
    assert (error.errcode, error.unsent) == (45047, None)
    assert (server.wechat.calls, left()) == ([], 5)
    assert send(OPENID, "好" * (682 * 5)) == 5


@pytest.mark.parametrize(("text", "count"), [("你好", 1), ("好" * 1000, 2)])
def test_many_senders_at_once_send_five_and_no_text_in_part(
    text: str, count: int, app: Flask, fan: Fan, server: WeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fan.writes()
    for name in ("get", "add", "_set"):
        monkeypatch.setattr(get_api().cache, name, far_away(getattr(get_api().cache, name)))
    ready = threading.Barrier(20)

    def run(_: int) -> int | None:
        with app.app_context():
            ready.wait()
            try:
                return send(OPENID, text)
            except ApiError as error:
                return -(error.errcode or 0)

    with ThreadPoolExecutor(20) as pool:
        ended = list(pool.map(run, range(20)))
    assert set(ended) <= {count, -45047}
    assert fan.got == text * ended.count(count)
    assert server.calls_of(SEND_PATH) == [0] * count * ended.count(count)
    if count == 1:
        assert ended.count(1) == 5
    assert left() == 5 - len(server.calls_of(SEND_PATH))


@pytest.mark.parametrize("known", ["message", "click", "nothing"])
def test_a_window_that_wechat_has_closed_is_closed_here_until_the_fan_writes(
    known: str, fan: Fan, server: WeChatServer, clock: Clock
) -> None:
    if known == "message":
        fan.writes()
    elif known == "click":
        fan.does("click")
    server.wechat.close_window(OPENID)
    assert [refused().errcode for _ in range(3)] == [45015] * 3
    assert (server.calls_of(SEND_PATH), left()) == ([45015], 0)
    clock.now += 600  # it may be wrong: the cache can have missed what the fan did
    assert (left(), refused().errcode) == (None, 45015)
    assert server.calls_of(SEND_PATH) == [45015, 45015]
    fan.does("click")
    assert (left(), send(OPENID, "你好")) == (3, 1)
    fan.writes()
    assert (left(), send(OPENID, "你好")) == (7, 1)


def test_where_nothing_is_known_wechat_is_asked(fan: Fan, server: WeChatServer) -> None:
    server.wechat.heard(OPENID)
    assert (left(), send(OPENID, "好" * (682 * 4 + 1)), left()) == (None, 5, None)
    assert [refused().errcode for _ in range(3)] == [45047] * 3
    assert (server.calls_of(SEND_PATH), left()) == ([0] * 5 + [45047], 0)


@pytest.mark.parametrize("errcode", [48001, 43004])
def test_a_refused_message_gives_its_place_back(errcode: int, fan: Fan, server: WeChatServer) -> None:
    fan.writes()
    server.wechat.fail(SEND_PATH, errcode=errcode)
    assert [refused().errcode for _ in range(5)] == [errcode] * 5
    error = refused(ImageReply(media_id="m"))
    assert (error.errcode, error.unsent, refused().unsent) == (errcode, None, None)
    assert (server.calls_of(SEND_PATH), left()) == ([errcode] * 7, 5)
    server.wechat.heal()
    assert send(OPENID, "好" * (682 * 5)) == 5


@pytest.mark.parametrize("kind", ["cut", "html"])
def test_a_message_that_may_have_arrived_keeps_its_place(kind: str, fan: Fan, server: WeChatServer) -> None:
    fan.writes()
    server.wechat.fail(SEND_PATH, kind, times=1)
    assert (refused().errcode, left()) == (None, 4)


@pytest.mark.parametrize(("errcode", "left_then"), [(45047, 0), (45009, 4)])
def test_what_remains_of_a_text_can_be_sent_later(
    errcode: int, left_then: int, fan: Fan, server: WeChatServer, clock: Clock
) -> None:
    text = "第一部分。" * 120 + "第二部分。" * 120 + "第三部分。" * 120
    fan.writes()
    if errcode == 45047:
        let_wechat_take(server, 1)
    else:
        server.wechat.set(limits={SEND_PATH: 1})
    error = refused(text)
    assert (error.errcode, left()) == (errcode, left_then)
    assert server.calls_of(SEND_PATH) == [0, errcode]
    assert (fan.got, error.unsent) == (parts(text)[0], "".join(parts(text)[1:]))
    server.wechat.set(limits={})
    clock.now += 60  # after a used-up quota, calls pause
    fan.writes()
    assert send(OPENID, error.unsent) == 2
    assert fan.got == text


def test_a_click_on_a_menu_message_opens_three_messages(fan: Fan) -> None:
    fan.clicks_in_a_message()
    assert get_api().budget.left(OPENID) == 3
