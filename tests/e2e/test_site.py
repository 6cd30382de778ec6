"""A fan's message through real nginx and real uWSGI, and what the two keep out."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from app.callback.seal import Seal
from app.sandbox.messages import event_message, text_message
from app.sandbox.phone import Phone
from tests.e2e.conftest import Site, nginx_config
from tests.faults.fans import ask
from tests.load.wechat import WeChat
from tests.servers import AES_KEY, APPID, ROOT, TOKEN, Server, environment, free_port, program, uwsgi, wait_for

OPENID = "oFanBehindNginx0000000000000"
Serve = Callable[..., Site]


def phone(site: Site, mode: str = "normal", openid: str = OPENID) -> Phone:
    return Phone(site.url, TOKEN, openid, mode, Seal(AES_KEY, APPID))


def status(site: Site, path: str, method: str = "GET", body: bytes = b"") -> int:
    connection = HTTPConnection("127.0.0.1", site.port, timeout=10)
    try:
        connection.request(method, path, body=body, headers={"Content-Length": str(len(body))})
        return connection.getresponse().status
    finally:
        connection.close()


def flask(site: Site, *arguments: str, mode: str = "normal") -> "subprocess.CompletedProcess[str]":
    sealed = {"WECHAT_APPID": APPID, "WECHAT_ENCODING_AES_KEY": AES_KEY}
    return subprocess.run(
        [program("flask"), "wechat", *arguments, "--url", site.url, "--mode", mode],
        env=environment(FLASK_APP="runserver:application", **sealed),
        cwd=site.folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("mode", ["normal", "compatible", "safe"])
def test_the_shells_fan_is_answered_in_every_mode(serve: Serve, mode: str) -> None:
    site = serve(mode)
    said = flask(site, "say", "天气 北京", mode=mode)
    followed = flask(site, "event", "subscribe", "--scene", "poster-7", mode=mode)
    assert (said.stdout, followed.stdout) == (
        "北京：晴，25 度\n",
        "[图文] 七号海报 https://example.com/poster-7\n",
    )
    assert "-- 1 delivery, " in said.stderr
    assert "handler=weather" in site.uwsgi.output()


@pytest.fixture
def site(serve: Serve) -> Site:
    return serve()


def test_everything_but_the_callback_is_kept_out(site: Site) -> None:
    paths = ["/", "/wechat/", "/wechatx", "/console/", "/sandbox/", "/healthzx", "/db", "/.env"]
    assert [status(site, path) for path in paths] == [404] * len(paths)
    assert status(site, "/wechat") == 403
    assert status(site, "/wechat", "DELETE") == 405


def test_a_query_of_3_kb_passes(site: Site) -> None:
    with phone(site) as fan:
        query, body = fan.envelope(text_message(OPENID, "天气 北京"))
        path = f"/wechat?{urlencode(query | {'extra': 'x' * 3000})}"
        assert status(site, path, "POST", body) == 200


@pytest.mark.parametrize(("size", "expected"), [(65_536, 403), (66_560, 413)])
def test_a_body_of_65_kib_gets_413(site: Site, size: int, expected: int) -> None:
    assert status(site, "/wechat", "POST", b"x" * size) == expected


def test_neither_log_holds_a_signature_an_openid_or_the_token(site: Site) -> None:
    with phone(site) as fan:
        query, _ = fan.envelope("")
        assert fan.deliver(text_message(OPENID, "words of a fan")).shown == "words of a fan"
    status(site, f"/wechat?{urlencode(query)}&echostr=1")
    wait_for(lambda: (site.folder / "access.log").read_text().count("/wechat") == 2)
    status(site, f"/wechat?{urlencode(query)}", "POST", b"x" * 66_560)
    site.uwsgi.stop()
    assert status(site, f"/wechat?{urlencode(query)}") == 502
    logs = (
        site.uwsgi.output()
        + site.nginx.output()
        + "".join((site.folder / name).read_text() for name in ("access.log", "error.log"))
    )
    assert not [word for word in (TOKEN, OPENID, "signature=", "words of a fan") if word in logs]


def test_one_line_a_message_from_all_workers_and_a_session_they_share(site: Site) -> None:
    with ThreadPoolExecutor(16) as pool:
        fans = [f"oFan{number:024}" for number in range(200)]

        def play(openid: str) -> str:
            with phone(site, openid=openid) as fan:
                started = fan.deliver(text_message(openid, "猜数字")).shown
                return started + fan.deliver(text_message(openid, "101")).shown

        assert set(pool.map(play, fans)) == {"我想好了一个 1 到 100 的数，猜猜看大了"}
    lines = [line for line in site.uwsgi.output().splitlines() if " wechat message " in line]
    assert len(lines) == 400
    line = (
        r"\S+ INFO wechat message type=text event=- openid=oFan\*{3}\d{4} handler=\w+ ms=[\d.]+ delivery=1 outcome=\w+"
    )
    assert all(re.fullmatch(line, text) for text in lines)


def test_a_redelivery_to_another_worker_gets_the_same_reply(site: Site) -> None:
    message = event_message(OPENID, "subscribe", scene="poster-8")
    with ThreadPoolExecutor(8) as pool:

        def deliver(_: int) -> str:
            with phone(site) as fan:
                return fan.deliver(message).shown

        assert set(pool.map(deliver, range(40))) == {"欢迎关注！你来自 poster-8"}
    outcomes = re.findall(r"outcome=(\w+)", site.uwsgi.output())
    assert sorted(outcomes) == ["repeated"] * 39 + ["replied"]


def test_a_captured_signature_is_refused_by_every_worker(site: Site) -> None:
    with phone(site) as fan:
        query, body = fan.envelope(text_message(OPENID, "from the fan"))
    path = f"/wechat?{urlencode(query)}"
    assert status(site, path, "POST", body) == 200
    forged = text_message(OPENID, "from somebody else").encode()
    assert {status(site, path, "POST", forged) for _ in range(20)} == {403}
    assert status(site, path, "POST", body) == 200


def test_it_holds_more_deliveries_than_the_usual_limit_of_1024_files(tmp_path: Path) -> None:
    port, prefix = free_port(), ("prlimit", "--nofile=1024:16384")
    handlers = {"WECHAT_HANDLERS": "tests.load.handlers", "WECHAT_HANDLERS_AT_ONCE": "2000"}
    one = {"processes = 2": "processes = 1"}
    with uwsgi(tmp_path, environment(**handlers), port=port, prefix=prefix, replacements=one):
        url = f"http://127.0.0.1:{port}/wechat"
        with WeChat([url]) as wechat, WeChat([url], deliveries=1) as again:
            asked = ask(wechat, "slow 4")
            others = [again.send(asked.openid, asked.message) for _ in range(1200)]
            assert {one.result().shown for one in others} == {asked.expected}
            assert asked.is_right


def test_nginx_takes_the_shipped_file(tmp_path: Path) -> None:
    conf = nginx_config(tmp_path, free_port())
    command = [program("nginx"), "-t", "-p", str(tmp_path), "-c", str(conf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "test is successful" in done.stderr) == (0, True), done.stderr


def test_uwsgi_refuses_a_misspelt_option(tmp_path: Path) -> None:
    misspelt = {"lazy-apps = true": "lazy-apps = true\ndemonize = x"}
    running = uwsgi(tmp_path, environment(), port=free_port(), replacements=misspelt)
    with pytest.raises(RuntimeError, match="unknown config directive: demonize"), running:
        pass


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"WECHAT_TOKEN": "no!"}, "WECHAT_TOKEN is malformed"),
        ({"WECHAT_HANDLERS": "no_such_bot"}, "WECHAT_HANDLERS=no_such_bot: no such module"),
        ({"WECHAT_CACHE_URL": "uwsgi://other"}, "uWSGI has no cache 'other'"),
        ({"WECHAT_CACHE_URL": "memory://"}, "WECHAT_CACHE_URL=memory:// with several processes"),
        ({"WECHAT_SANDBOX": "1"}, "WECHAT_SANDBOX=1 in production"),
    ],
)
def test_uwsgi_does_not_start_with_wrong_settings(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    with pytest.raises(RuntimeError, match=named), uwsgi(tmp_path, environment(**settings), port=free_port()):
        pass


def test_sigterm_lets_a_running_handler_end(serve: Serve) -> None:
    site = serve(WECHAT_HANDLERS="tests.e2e.slow_handlers")
    with phone(site) as fan, ThreadPoolExecutor(1) as pool:
        shown = pool.submit(lambda: fan.deliver(text_message(OPENID, "hi")))
        wait_for(lambda: "handler runs" in site.uwsgi.output())
        os.kill(site.uwsgi.process.pid, signal.SIGTERM)
        wait_for(lambda: "graceful shutdown triggered" in site.uwsgi.output())
        (site.folder / "finish").touch()
        assert shown.result()[:3] == ("hi", True, 1)
        assert site.uwsgi.process.wait(20) == 0


def test_sigterm_ends_workers_that_still_load_the_application(tmp_path: Path) -> None:
    (run := tmp_path / "run").mkdir()
    (run / "reload").touch()
    env = environment(WECHAT_HANDLERS="tests.e2e.loading_handlers", RUNTIME_DIRECTORY=str(run))
    command = [program("uwsgi"), "--http-socket", f"127.0.0.1:{free_port()}", "--ini", str(ROOT / "uwsgi_wechat.ini")]
    server = Server(command, tmp_path, env)
    try:
        server.wait_until((tmp_path / "loading").exists)
    finally:
        server.stop()
    assert server.process.returncode == 0


def test_a_chain_reload_loses_no_message(site: Site) -> None:
    def ready() -> int:
        return site.uwsgi.output().count("WSGI app 0")

    started, deadline = ready(), time.monotonic() + 60
    with ThreadPoolExecutor(4) as pool:

        def talk(number: int) -> set[str]:
            shown: set[str] = set()
            with phone(site, openid=f"oFan{number}") as fan:
                while ready() < started + 2 and time.monotonic() < deadline:
                    shown.add(fan.deliver(text_message(f"oFan{number}", "hi")).shown)
            return shown

        talks = [pool.submit(talk, number) for number in range(4)]
        os.utime(site.folder / "run" / "reload", (time.time() + 5,) * 2)  # uWSGI looks at whole seconds
        assert [talk.result() for talk in talks] == [{"hi"}] * 4
    assert ready() >= started + 2


def test_the_ini_starts_as_it_is_shipped_but_for_the_socket(serve: Serve) -> None:
    site = serve(replacements={})
    shipped = (ROOT / "uwsgi_wechat.ini").read_text()
    used = (site.folder / "uwsgi_wechat.ini").read_text()
    assert used == shipped.replace("%(run)/uwsgi.sock", str(site.folder / "uwsgi.sock"))
    assert oct((site.folder / "uwsgi.sock").stat().st_mode)[-3:] == "660"


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    found = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout
    assert found == ""
