"""The doctor on nginx's files: the shipped ones, and the same with one thing wrong."""

import subprocess
from pathlib import Path

import pytest

from app.doctor import of_nginx
from app.doctor.finding import Finding
from app.doctor.nginx import check_nginx, read_site
from app.doctor.nginx_files import read_files, seconds, size_bytes
from tests.doctor.conftest import said
from tests.servers import ROOT, program, substituted


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The shipped files as they are installed, below a folder of the test; the main file's path is returned."""
    etc = tmp_path / "nginx"
    (etc / "conf.d").mkdir(parents=True)
    (etc / "wechat" / "shop.d").mkdir(parents=True)
    moved = {"/etc/nginx/": f"{etc}/"}
    substituted(ROOT / "nginx" / "wechat.conf", etc / "conf.d" / "wechat.conf", moved)
    substituted(ROOT / "nginx" / "account.conf", etc / "wechat" / "shop.conf", moved)
    for name in ("params", "ports.map", "real_ip.conf"):
        substituted(ROOT / "nginx" / name, etc / "wechat" / name, {})
    return substituted(ROOT / "nginx" / "nginx.conf", etc / "nginx.conf", moved)


def looked(files: Path, path: str = "/wechat/shop") -> list[Finding]:
    return list(check_nginx(read_site(files, path), files, path))


def changed(files: Path, name: str, old: str, new: str) -> None:
    substituted(files.parent / name, files.parent / name, {old: new})


def test_the_shipped_files_are_ok(files: Path) -> None:
    findings = looked(files)
    assert {finding.status for finding in findings} == {"ok"}
    assert said(findings, "nginx") == [("ok", "/wechat/shop is passed to unix:/run/wechat/shop/uwsgi.sock -> ")]
    assert said(findings, "nginx time-out")[0][1].startswith("uwsgi_read_timeout is 65 s")
    assert said(findings, "nginx body size") == [("ok", "64 KB -> ")]
    site = read_site(files, "/wechat/shop")
    assert (site.machines, site.sockets, site.user) == (1, [Path("/run/wechat/shop/uwsgi.sock")], "www-data")
    assert site.connections % 40960 == 0
    assert site.allowed is None


def test_the_layout_of_older_setups_is_found_by_its_map(files: Path) -> None:
    assert {finding.status for finding in looked(files, "/wechat8011")} == {"ok"}


@pytest.mark.parametrize("row", [None, "/wechat8011 127.0.0.1:8011/wechat;"])
def test_the_service_of_an_older_setup_is_looked_at_by_its_address_outside(row: str | None, files: Path) -> None:
    if row:
        (files.parent / "wechat" / "ports.map").write_text(row)
    [warned] = looked(files, "/wechat")
    assert (warned.status, "docs/accounts.md" in warned.found) == ("warning", True)
    assert warned.todo.startswith("flask wechat doctor --url http://YOUR-ADDRESS/wechat8011")
    site, path = of_nginx(files, "/wechat", "http://wx.example.com/wechat8011")
    assert {finding.status for finding in check_nginx(site, files, path)} == {"ok"}
    (files.parent / "wechat" / "ports.map").unlink()
    assert [finding.status for finding in looked(files, "/wechat")] == ["wrong"]


@pytest.mark.parametrize("path", ["/wechat/other", "/wechat8", "/wechat/shop/metricsx"])
def test_a_path_that_nginx_passes_nowhere_is_wrong(path: str, files: Path) -> None:
    assert [(finding.name, finding.status) for finding in looked(files, path)] == [("nginx", "wrong")]


@pytest.mark.parametrize(
    ("file", "old", "new", "name"),
    [
        ("wechat/shop.conf", "uwsgi_read_timeout 65s", "uwsgi_read_timeout 5s", "nginx time-out"),
        ("wechat/shop.conf", "uwsgi_read_timeout 65s", "uwsgi_read_timeout 900ms", "nginx time-out"),
        ("conf.d/wechat.conf", "client_max_body_size 64k", "client_max_body_size 8k", "nginx body size"),
        ("wechat/params", "uwsgi_next_upstream off", "uwsgi_next_upstream error non_idempotent", "nginx repeats"),
    ],
)
def test_what_cannot_go_well_is_wrong(file: str, old: str, new: str, name: str, files: Path) -> None:
    changed(files, file, old, new)
    assert [status for status, _ in said(looked(files), name)] == ["wrong"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("worker_rlimit_nofile 65536;", ""), ("worker_rlimit_nofile 65536", "worker_rlimit_nofile 40959")],
)
def test_fewer_files_than_connections_are_a_warning(old: str, new: str, files: Path) -> None:
    changed(files, "nginx.conf", old, new)
    assert [status for status, _ in said(looked(files), "nginx connections")] == ["warning"]


def test_a_setting_of_the_server_around_counts_where_the_location_has_none(files: Path) -> None:
    changed(files, "conf.d/wechat.conf", "send_timeout 5s;", "send_timeout 5s; uwsgi_read_timeout 4s;")
    assert said(looked(files), "nginx time-out")[0][1].startswith("uwsgi_read_timeout is 65 s")
    changed(files, "wechat/shop.conf", "    uwsgi_read_timeout 65s;\n", "")
    assert [status for status, _ in said(looked(files), "nginx time-out")] == ["wrong"]


def test_several_machines_are_counted_by_the_upstream(files: Path) -> None:
    machines = "upstream many { server 10.0.0.1:80; server 10.0.0.2:80 max_fails=3; server 10.0.0.3:80 down; }\n"
    conf = files.parent / "conf.d" / "wechat.conf"
    conf.write_text(machines + conf.read_text())
    changed(files, "wechat/shop.conf", "unix:/run/wechat/shop/uwsgi.sock", "many")
    site = read_site(files, "/wechat/shop")
    assert site.machines == 2
    assert site.sockets == []


def test_the_recipe_for_several_machines_is_ok(files: Path) -> None:
    (files.parent / "wechat" / "shop.conf").unlink()
    (files.parent / "conf.d" / "wechat.conf").write_text((ROOT / "nginx" / "machines.conf").read_text())
    assert {finding.status for finding in looked(files)} == {"ok"}
    assert read_site(files, "/wechat/shop").machines == 3


def test_an_allow_list_is_read(files: Path) -> None:
    (files.parent / "wechat" / "shop.d" / "callers.conf").write_text("allow 101.226.103.0/25;\nallow ::1;\ndeny all;\n")
    assert [str(one) for one in read_site(files, "/wechat/shop").allowed or ()] == ["101.226.103.0/25", "::1/128"]


@pytest.mark.parametrize(("file", "before"), [("conf.d/wechat.conf", "server_tokens off;"), ("nginx.conf", "http {")])
def test_an_allow_list_around_counts_where_the_location_has_none(file: str, before: str, files: Path) -> None:
    changed(files, file, before, f"{before} allow 101.226.103.0/25; deny all;")
    assert [str(one) for one in read_site(files, "/wechat/shop").allowed or ()] == ["101.226.103.0/25"]
    own = files.parent / "wechat" / "shop.d" / "callers.conf"
    own.write_text("allow ::1;\ndeny all;\n")
    assert [str(one) for one in read_site(files, "/wechat/shop").allowed or ()] == ["::1/128"]
    own.write_text("deny 192.0.2.1;\nallow all;\ndeny all;\n")
    assert read_site(files, "/wechat/shop").allowed is None


@pytest.mark.parametrize("text", ["}", 'a "b;', "http { } }"])
def test_what_is_no_file_of_nginx_says_so(text: str, tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(text)
    with pytest.raises(ValueError, match="too many"):
        read_files(tmp_path / "nginx.conf")


def test_words_are_read_as_nginx_reads_them(tmp_path: Path) -> None:
    text = "a 'b c' \"{;}\"; # d;\n'e' ${f}g{ h ~^/x\\;y$; }\n"
    (tmp_path / "nginx.conf").write_text(text)
    first, second = read_files(tmp_path / "nginx.conf")
    assert (first.name, first.arguments) == ("a", ["b c", "{;}"])
    assert (second.name, second.arguments) == ("e", ["${f}g"])
    assert second.inside
    assert second.inside[0].arguments == ["~^/x\\;y$"]


@pytest.mark.parametrize(("text", "value"), [("10s", 10), ("1m 30s", 90), ("500ms", 0.5), ("7", 7), ("1h", 3600)])
def test_times_are_read(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(("text", "value"), [("64k", 65536), ("1M", 1 << 20), ("8000", 8000), ("0", 0)])
def test_sizes_are_read(text: str, value: int) -> None:
    assert size_bytes(text) == value


def test_nginx_takes_the_files_that_were_read(files: Path) -> None:
    folder = files.parent
    for name, old, new in (
        ("conf.d/wechat.conf", "/var/log/nginx/", f"{folder}/"),
        ("nginx.conf", "/var/log/nginx/", f"{folder}/"),
        ("nginx.conf", "/run/nginx.pid", f"{folder}/nginx.pid"),
    ):
        changed(files, name, old, new)
    tried = subprocess.run([program("nginx"), "-tq", "-c", files, "-p", folder], capture_output=True, text=True)
    assert (tried.returncode, tried.stderr) == (0, "")
