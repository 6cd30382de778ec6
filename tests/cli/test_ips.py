"""``flask wechat ips``: lists, and files that never become worse than they were."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from app.api import get_api
from tests.actors import Account
from tests.wechat_server import WeChatServer

Run = Callable[..., Result]
CALL = "/cgi-bin/getcallbackip"
MANY = [f"101.226.62.{number}" for number in range(1, 41)]


@pytest.fixture
def ips(account: Callable[..., Account], server: WeChatServer) -> Iterator[Run]:
    one = account({"*": print}, **server.settings)
    yield lambda *arguments: one.app.test_cli_runner().invoke(args=["wechat", "ips", *map(str, arguments)])
    with one.app.app_context():
        get_api().client._http.close()


@pytest.fixture
def file(tmp_path: Path, server: WeChatServer, ips: Run) -> Path:
    """A list of forty addresses that was written before."""
    server.wechat.set(push_addresses=MANY)
    path = tmp_path / "callers.conf"
    assert ips("--format", "nginx", "--output", path).exit_code == 0
    return path


def test_the_plain_list_is_sorted_and_has_each_once(ips: Run, server: WeChatServer) -> None:
    server.wechat.set(push_addresses=["9.9.9.9", "2402:4e00::/32", "101.226.103.0/25", "10.1.2.3/24", "9.9.9.9/32"])
    assert ips().stdout == "9.9.9.9\n10.1.2.0/24\n101.226.103.0/25\n2402:4e00::/32\n"


def test_the_list_for_nginx_lets_in_wechat_and_this_machine_and_nobody_else(ips: Run, server: WeChatServer) -> None:
    server.wechat.set(push_addresses=["101.226.103.0/25", "2402:4e00::1"])
    lines = ips("--format", "nginx").stdout.splitlines()
    assert lines[0].startswith("# Who may call: 2 addresses and networks of WeChat, of 20")
    rules = ["allow 101.226.103.0/25;", "allow 2402:4e00::1;", "allow 127.0.0.1;", "allow ::1;", "deny all;"]
    assert lines[2:] == rules


def test_a_file_is_written_once_and_again_only_when_it_changes(file: Path, ips: Run, server: WeChatServer) -> None:
    written = file.stat()
    assert stat.S_IMODE(written.st_mode) == 0o644
    assert ips("--format", "nginx", "--output", file).stdout == f"{file} holds the same 40 addresses\n"
    assert file.stat().st_mtime_ns == written.st_mtime_ns
    server.wechat.set(push_addresses=[*MANY[1:], "9.9.9.9"])
    result = ips("--format", "nginx", "--output", file)
    assert result.stdout == f"wrote {file}: 40 addresses, 1 new, 1 gone\n"
    assert "allow 9.9.9.9;" in file.read_text()
    assert MANY[0] + ";" not in file.read_text()
    assert os.listdir(file.parent).count(file.name) == 1
    assert not [name for name in os.listdir(file.parent) if name.startswith(f".{file.name}")]


@pytest.mark.parametrize(
    ("addresses", "says"),
    [
        ([], "holds no addresses"),
        ("101.226.62.1", "holds no addresses"),
        ([*MANY, "<html>"], "'<html>', which is no address"),
        ([*MANY, "9.9.9.9; deny all"], "which is no address"),
        ([*MANY, None], "'None', which is no address"),
        ([*MANY, "0.0.0.0/0"], "half the world"),
        (MANY[:19], "21 of its 40 addresses are not in WeChat's answer"),
        (["9.9.9.9"], "--force takes it"),
    ],
)
def test_a_good_list_is_never_replaced_by_a_bad_one(
    addresses: object, says: str, file: Path, ips: Run, server: WeChatServer
) -> None:
    before = file.read_bytes()
    server.wechat.set(push_addresses=addresses)
    result = ips("--format", "nginx", "--output", file)
    assert result.exit_code == 1
    assert says in result.stderr
    assert file.read_bytes() == before


def test_half_of_the_list_may_go_and_more_by_force(file: Path, ips: Run, server: WeChatServer) -> None:
    server.wechat.set(push_addresses=MANY[:20])
    assert ips("--format", "nginx", "--output", file).exit_code == 0
    server.wechat.set(push_addresses=["9.9.9.9"])
    assert ips("--output", file, "--force").exit_code == 0
    assert file.read_text() == "9.9.9.9\n"
    server.wechat.set(push_addresses=[])
    assert ips("--output", file, "--force").exit_code == 1
    assert file.read_text() == "9.9.9.9\n"


@pytest.mark.parametrize("fault", ["html", "cut", "errcode"])
def test_an_api_that_is_down_leaves_the_file(fault: str, file: Path, ips: Run, server: WeChatServer) -> None:
    before = file.read_bytes()
    server.wechat.fail(CALL, fault, errcode=40164 if fault == "errcode" else 0)
    assert ips("--format", "nginx", "--output", file).exit_code == 1
    assert file.read_bytes() == before


def test_a_disk_that_takes_nothing_leaves_the_file_and_nothing_beside_it(
    file: Path, ips: Run, server: WeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr(os, "fsync", refuse)
    server.wechat.set(push_addresses=[*MANY, "9.9.9.9"])
    result = ips("--format", "nginx", "--output", file)
    assert "No space left" in result.stderr
    assert file.read_bytes() == before
    assert not [name for name in os.listdir(file.parent) if name.startswith(f".{file.name}")]


def test_a_file_in_the_other_format_is_written_anew(ips: Run, server: WeChatServer, tmp_path: Path) -> None:
    server.wechat.set(push_addresses=MANY)
    file = tmp_path / "callers.conf"
    assert ips("--output", file).exit_code == 0
    assert ips("--format", "nginx", "--output", file).stdout == f"wrote {file}: 40 addresses, 0 new, 0 gone\n"
    assert file.read_text().endswith("deny all;\n")


def test_the_date_alone_is_no_change(file: Path, ips: Run) -> None:
    older = re.sub(r"of \d{4}-\d\d-\d\d", "of 2001-01-01", file.read_text())
    file.write_text(older)
    assert ips("--format", "nginx", "--output", file).stdout == f"{file} holds the same 40 addresses\n"
    assert "2001-01-01" in file.read_text()


def test_an_empty_file_that_was_touched_is_filled(ips: Run, tmp_path: Path) -> None:
    (tmp_path / "callers.conf").touch()
    assert ips("--format", "nginx", "--output", tmp_path / "callers.conf").exit_code == 0
    assert "deny all;" in (tmp_path / "callers.conf").read_text()


def test_without_an_account_it_says_what_is_missing(account: Callable[..., Account]) -> None:
    result = account({"*": print}).app.test_cli_runner().invoke(args=["wechat", "ips"])
    assert result.exit_code == 1
    assert "WECHAT_APPSECRET missing" in result.stderr
