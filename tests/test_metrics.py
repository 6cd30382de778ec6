"""The figures of one process, and the files that describe them."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from app import create_app, metrics
from app.callback.signature import sign
from app.errors import ApiError
from app.sandbox.messages import text_message
from tests.actors import OPENID, Account
from tests.callback.test_route import signed
from tests.figures import Figures, added, figures
from tests.servers import ROOT, TOKEN, program
from tests.wechat_server import APPSECRET, WeChatServer

Open = Callable[..., Account]
METRICS = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
PAGES = ["docs/metrics.md", "docs/metrics.zh-CN.md"]


class Change:
    """What the figures gain while the context is entered."""

    def __enter__(self) -> "Change":
        self.before = figures(metrics.exposition().decode())
        return self

    def __exit__(self, *_: object) -> None:
        self.gained: Figures = added(self.before, figures(metrics.exposition().decode()))

    def of(self, name: str) -> dict[tuple[str, ...], float]:
        return {place[1:]: value for place, value in self.gained.items() if place[0] == name}


@pytest.fixture
def change() -> Change:
    return Change()


def fail(message: Any) -> None:
    raise RuntimeError


def test_messages_are_counted_by_type_event_and_outcome(account: Open, change: Change) -> None:
    opened = account({"text": lambda message: "hi", ("event", "scan"): lambda message: None, "image": fail})
    with change:
        opened.say("one")
        opened.say("two")
        opened.event("SCAN", scene="7")
        opened.event("subscribe")
        opened.deliver(text_message(OPENID, "x").replace("text", "image", 1))
    assert change.of("wechat_messages_total") == {
        ("", "replied", "text"): 2,
        ("scan", "silent", "event"): 1,
        ("subscribe", "unhandled", "event"): 1,
        ("", "failed", "image"): 1,
    }
    assert change.of("wechat_answer_seconds_count") == {(): 5}
    assert change.of("wechat_answer_seconds_bucket")[("0.5",)] == 5


def test_a_delivery_that_joins_is_counted_as_such_and_its_message_once(account: Open, change: Change) -> None:
    opened = account({"text": lambda message: "hi"})
    message = text_message(OPENID, "once")
    with change:
        for _ in range(5):
            opened.deliver(message)
    assert change.of("wechat_messages_total") == {("", "replied", "text"): 1}
    assert change.of("wechat_deliveries_total") == {
        ("first", "replied"): 1,
        ("second", "repeated"): 1,
        ("third", "repeated"): 1,
        ("further", "repeated"): 2,
    }


def test_refused_requests_are_counted_by_reason(account: Open, change: Change) -> None:
    opened = account({"text": lambda message: "hi"}, WECHAT_ENCRYPT_MODE="safe")
    query, body = opened.phone.envelope(text_message(OPENID, "hi"))
    plain = text_message(OPENID, "hi").encode()
    stale = signed(age_seconds=1000)
    sealed = re.sub(rb"(<Encrypt><!\[CDATA\[).*?(?=\]\])", rb"\1AAAA", body)
    broken = query | {"msg_signature": sign(TOKEN, query["timestamp"], query["nonce"], "AAAA")}
    with change:
        assert opened.post(query | {"msg_signature": "0" * 40}, body).status_code == 403
        assert opened.client.get("/wechat", query_string=stale | {"echostr": "x"}).status_code == 403
        fresh = signed()
        assert opened.post(fresh, plain).status_code == 403
        assert opened.post(broken, sealed).status_code == 403
        assert opened.post(query, b"<xml").status_code == 400
        assert opened.post(query, b"x" * 65_537).status_code == 413
    reasons = ("signature", "stale", "plaintext", "ciphertext", "message", "too large")
    assert change.of("wechat_refused_requests_total") == {(reason,): 1 for reason in reasons}


def test_a_captured_signature_is_counted_as_replayed(account: Open, change: Change) -> None:
    opened = account({"text": lambda message: "hi"})
    query, body = opened.phone.envelope(text_message(OPENID, "hi"))
    opened.post(query, body)
    with change:
        opened.post(query, text_message(OPENID, "another").encode())
    assert change.of("wechat_refused_requests_total") == {("replayed",): 1}


def test_handlers_in_flight_are_seen_while_they_run(account: Open) -> None:
    seen = []

    def places() -> dict[str, float]:
        now = figures(metrics.exposition().decode())
        return {place: now["wechat_handlers_in_flight", place] for place in ("inline", "thread", "loop")}

    def look(message: Any) -> str:
        seen.append(places())
        return "hi"

    async def look_on_the_loop(message: Any) -> str:
        return look(message)

    nowhere = {"inline": 0, "thread": 0, "loop": 0}
    opened = account({("text", "async"): look_on_the_loop, "text": look})
    opened.say("hi")
    opened.say("async")
    assert seen == [nowhere | {"inline": 1}, nowhere | {"loop": 1}]
    assert places() == nowhere
    bounds = figures(metrics.exposition().decode())
    assert [bounds["wechat_handlers_in_flight_bound", place] for place in nowhere] == [1000, 1000, 10_000]


def test_calls_of_the_api_and_tokens_are_counted(
    settings: Callable[..., Any], server: WeChatServer, change: Change
) -> None:
    app = create_app(settings(**server.settings))
    with app.app_context(), change:
        client = app.extensions["wechat_api"].client
        assert client.access_token
        with pytest.raises(ApiError) as refused:
            client.post("message/custom/send", data={"touser": OPENID, "msgtype": "text", "text": {"content": "x"}})
    calls = change.of("wechat_api_calls_total")
    assert calls[("/cgi-bin/stable_token", "0")] == 1
    assert calls[("/cgi-bin/message/custom/send", str(refused.value.errcode))] == 1
    assert change.of("wechat_token_fetches_total") == {("ok", "token"): 1}
    assert APPSECRET not in metrics.exposition().decode()


def test_no_label_has_values_without_end(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {label: set(values) for label, values in metrics._seen.items()}
    monkeypatch.setattr(metrics, "_seen", seen)  # the tests to come in this process need room for their own
    with change:
        for number in range(1000):
            metrics.count_call(f"/cgi-bin/test/{number}", 0)
            metrics.count_message("event", f"made_up_{number}", "replied", 0.1)
            metrics.count_run(f"('text', '{number}')", "replied", 0.1)
    assert len(change.of("wechat_api_calls_total")) <= 101
    assert change.of("wechat_api_calls_total")[("other", "0")] >= 900
    assert len(change.of("wechat_messages_total")) <= 101
    assert len(change.of("wechat_handler_seconds_count")) <= 401


def test_figures_say_nothing_of_a_fan(account: Open) -> None:
    account({"text": lambda message: message.content}).say("words of a fan")
    text = metrics.exposition().decode()
    assert 'type="text"' in text
    assert not [word for word in (OPENID, "words of a fan", TOKEN) if word in text]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric._name))
def test_each_metric_and_label_is_in_the_documentation(page: str, metric: Any) -> None:
    name = metric._name + ("_total" if metric._type == "counter" else "")
    rows = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}`")]
    assert len(rows) == 1
    assert [label for label in metric._labelnames if f"`{label}`" not in rows[0]] == []


def known_names() -> set[str]:
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    suffixes["summary"] = ["_sum", "_count"]
    return {metric._name + suffix for metric in METRICS for suffix in suffixes[str(metric._type)]}


def named(expressions: str) -> set[str]:
    return set(re.findall(r"\bwechat_\w+", expressions))


def dashboard_expressions() -> list[str]:
    dashboard = json.loads((ROOT / "monitoring" / "grafana.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def promtool(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [program("promtool"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_prometheus_takes_the_figures_the_rules_and_the_dashboards_expressions(tmp_path: Path) -> None:
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=metrics.exposition(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, b"")
    rules = [{"record": f"panel_{number}", "expr": expr} for number, expr in enumerate(dashboard_expressions())]
    assert len(rules) >= 10
    shown = json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})  # YAML takes JSON
    (tmp_path / "dashboard.yml").write_text(re.sub(r"\$__rate_interval", "5m", shown).replace("$account", ".*"))
    for path in (tmp_path / "dashboard.yml", ROOT / "monitoring" / "alerts.yml"):
        done = promtool("check", "rules", str(path), folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_and_the_dashboard_name_metrics_that_there_are() -> None:
    rules = (ROOT / "monitoring" / "alerts.yml").read_text(encoding="utf-8")
    expressions = "\n".join(dashboard_expressions())
    assert named(rules) | named(expressions) <= known_names()
    assert {name for name in named(expressions) if name.endswith(("_total", "_bucket"))} >= {
        name for name in known_names() if name.endswith(("_total", "_bucket"))
    }


def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    for name in ("alerts.yml", "alerts_test.yml"):
        (tmp_path / name).write_bytes((ROOT / "monitoring" / name).read_bytes())
    done = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = set(re.findall(r"- alert: (\w+)", (ROOT / "monitoring" / "alerts.yml").read_text()))
    tested = set(re.findall(r"alertname: (\w+)", (ROOT / "monitoring" / "alerts_test.yml").read_text()))
    assert alerts == tested


@pytest.mark.parametrize("page", PAGES)
def test_prometheus_finds_each_account_by_the_documented_configuration(page: str, tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(text)
    (tmp_path / "alerts.yml").write_bytes((ROOT / "monitoring" / "alerts.yml").read_bytes())
    checked = promtool("check", "config", "prometheus.yml", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    asked = ("check", "service-discovery", "--timeout=1s", "prometheus.yml", "wechat")
    found = [target["labels"] for target in json.loads(promtool(*asked, folder=tmp_path).stdout)]
    pages = {one["account"]: one["__address__"] + one["__metrics_path__"] for one in found}
    assert pages == {name: f"127.0.0.1:80/wechat/{name}/metrics" for name in ("shop", "school")}


def test_alerts_and_dashboard_take_more_than_one_job() -> None:
    rules = (ROOT / "monitoring" / "alerts.yml").read_text(encoding="utf-8")
    jobs = re.findall(r"\bjob\b[^,}]*", rules + "\n".join(dashboard_expressions()))
    assert jobs == ['job=~"wechat.*"'] * 2
