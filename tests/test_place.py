"""What is said to do names things as they are called where the service runs."""

import pytest

from app import place


def test_in_a_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert place.command("wechat menu diff") == "flask wechat menu diff"
    assert place.command("db upgrade") == "flask db upgrade"
    assert (place.settings_file(), place.size_file()) == (".env", "uwsgi_wechat.ini")
    assert place.unit_option("TasksMax=infinity") == "TasksMax=infinity in the unit"
    assert (place.status(), place.restart()) == ("systemctl status 'wechat@*'", "restart the service")


def test_as_an_account_that_was_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/wechat/shop")
    assert place.command("wechat menu diff") == "sudo wechat shop menu diff"
    assert place.command("db upgrade") == "sudo wechat shop db upgrade"
    assert (place.settings_file(), place.size_file()) == ("/etc/wechat/shop.env", "/etc/wechat/shop.ini")
    assert place.unit_option("TasksMax=infinity") == "sudo systemctl edit wechat@shop: TasksMax=infinity"
    assert place.status() == "systemctl status wechat@shop"
    assert place.restart() == "sudo systemctl restart wechat@shop"


def test_a_unit_of_ones_own_is_no_account_that_was_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/wechat")
    assert place.command("db upgrade") == "flask db upgrade"
