"""The same command again: a new version under traffic, and versions that are none."""

import re
from collections.abc import Callable

import pytest

from tests.deploy.bot import bot
from tests.deploy.conftest import Host
from tests.servers import wait_for

pytestmark = pytest.mark.timeout(600)

MIGRATION = '''"""One that fails."""

revision = "9999"
down_revision = "{newest}"


def upgrade() -> None:
    """Fail."""
    raise RuntimeError("this migration fails")
'''


def releases(shop: Host) -> set[str]:
    return set(shop.sh("cd /opt/wechat/shop; ls -d releases/*").split())


def edit(shop: Host, name: str, text: str) -> None:
    with (shop.source / name).open("a") as file:
        file.write(text)


def test_a_new_version_with_new_packages_loses_no_message(shop: Host) -> None:
    first, master, workers = shop.running
    bot(shop.share, "2.0")
    with shop.traffic() as seen:
        done = shop.install("BOT=/srv/share/mybot-2.0-py3-none-any.whl")
    assert done.status == 0, done.said
    second, same_master, new_workers = shop.running
    assert (same_master, workers & new_workers) == (master, set())
    assert second != first
    assert set(seen) == {"1.0 n 1", "2.0 n 1"}
    assert sum(seen.values()) > 100
    assert {first, second} <= releases(shop)
    # Back again, by the commands that docs/deploy.md names.
    shop.sh(f"ln -sfn {first} /opt/wechat/shop/current; systemctl reload wechat@shop")
    wait_for(lambda: shop.say("hi") == "1.0 hi", what="the version of before")
    done = shop.install("BOT=/srv/share/mybot-1.0-py3-none-any.whl")
    assert done.status == 0, done.said


def broken_file(shop: Host) -> str:
    edit(shop, "app/handlers/samples.py", "\ndef (:\n")
    return "SyntaxError"


def missing_package(shop: Host) -> str:
    edit(shop, "requirements.txt", "no-such-package==1.0\n")
    return "the packages do not install"


def failing_migration(shop: Host) -> str:
    versions = shop.source / "app" / "store" / "migrations" / "versions"
    known = [re.findall(r'^revision.*"(\w+)"', path.read_text(), re.MULTILINE)[0] for path in versions.glob("*.py")]
    (versions / "9999_fails.py").write_text(MIGRATION.format(newest=max(known)))
    return "this migration fails"


@pytest.mark.parametrize("breaks", [broken_file, missing_package, failing_migration])
def test_a_version_that_is_none_leaves_the_old_one_running(
    shop: Host, same_bot: str, breaks: Callable[[Host], str]
) -> None:
    before, there, said = shop.running, releases(shop), breaks(shop)
    done = shop.install(same_bot)
    assert done.status != 0
    assert said in done.said
    assert "Traceback" not in done.said.splitlines()[-1]
    assert shop.running == before
    assert releases(shop) == there
    assert shop.say("hi") == "1.0 hi"


def test_handlers_that_do_not_load_leave_the_old_ones_running(shop: Host) -> None:
    before = shop.running
    bot(shop.share, "3.0", first="raise ValueError('these handlers do not load')")
    done = shop.install("BOT=/srv/share/mybot-3.0-py3-none-any.whl")
    assert (done.status != 0, "these handlers do not load" in done.said) == (True, True)
    assert shop.running == before
    assert shop.say("hi") == "1.0 hi"


def test_a_version_that_the_fence_stops_leaves_the_old_workers_running(shop: Host) -> None:
    before = shop.running
    bot(shop.share, "4.0", first="import mmap; mmap.mmap(-1, 4096, prot=7)")  # executable memory
    done = shop.install("BOT=/srv/share/mybot-4.0-py3-none-any.whl")
    assert (done.status != 0, "The one before runs" in done.said) == (True, True)
    assert shop.running == before
    assert "mybot-4.0" not in shop.sh("cat /opt/wechat/shop/releases/*/.bot")
    assert shop.say("hi") == "1.0 hi"


def test_a_version_that_does_not_come_up_gives_way_to_the_one_before(shop: Host) -> None:
    current, _, _ = shop.running
    only_there = "import os\nassert 'LOGS_DIRECTORY' not in os.environ, 'only as the service'"
    bot(shop.share, "5.0", first=only_there)
    done = shop.install("BOT=/srv/share/mybot-5.0-py3-none-any.whl")
    assert (done.status != 0, "The one before runs" in done.said) == (True, True)
    assert shop.running[0] == current
    wait_for(lambda: shop.say("hi") == "1.0 hi", what="the version of before")


def test_what_a_reload_cannot_change_is_restarted_and_said(shop: Host, same_bot: str) -> None:
    _, master, _ = shop.running
    edit(shop, "uwsgi_wechat.ini", "; another ini\n")
    done = shop.install(same_bot)
    assert (done.status, "restarting wechat@shop" in done.said) == (0, True), done.said
    assert shop.running[1] != master
    assert shop.say("hi") == "1.0 hi"


def test_a_reload_with_a_wrong_setting_changes_nothing(shop: Host) -> None:
    before = shop.running
    shop.sh("cp -p /etc/wechat/shop.env /srv/share/kept.env; sed -i 's/^WECHAT_TOKEN=/&!/' /etc/wechat/shop.env")
    done = shop.run("systemctl", "reload", "wechat@shop")
    shop.sh("cp -p /srv/share/kept.env /etc/wechat/shop.env")
    assert done.status != 0
    assert shop.running == before
    assert "WECHAT_TOKEN is malformed" in shop.sh("journalctl --no-pager -u wechat@shop")
    assert shop.sh("systemctl is-active wechat@shop") == "active\n"
    assert shop.say("hi") == "1.0 hi"


def test_a_start_with_a_wrong_setting_fails_and_goes_well_as_soon_as_it_is_right(shop: Host) -> None:
    shop.sh("cp -p /etc/wechat/shop.env /srv/share/kept.env; sed -i 's/^WECHAT_TOKEN=/&!/' /etc/wechat/shop.env")
    try:
        done = shop.run("systemctl", "restart", "wechat@shop")
        last = "journalctl --no-pager -u wechat@shop -n 12"
        wait_for(lambda: "(environment and /etc/wechat/shop.env) are wrong" in shop.sh(last), what="the reason, last")
    finally:
        shop.sh("cp -p /srv/share/kept.env /etc/wechat/shop.env")
    assert done.status != 0
    wait_for(lambda: shop.say("hi") == "1.0 hi", what="an answer, without a hand's turn")


def test_a_reload_is_done_when_all_workers_have_the_new_settings(shop: Host) -> None:
    before = shop.running[2]
    shop.sh("cp -p /etc/wechat/shop.env /srv/share/kept.env")
    shop.sh("sed -i 's/^WECHAT_TOKEN=.*/WECHAT_TOKEN=tokenOfToday/' /etc/wechat/shop.env")
    try:
        assert shop.run("systemctl", "reload", "wechat@shop").status == 0
        assert shop.running[2].isdisjoint(before)
        assert [shop.say("hi") for _ in range(10)] == ["1.0 hi"] * 10
    finally:
        shop.sh("cp -p /srv/share/kept.env /etc/wechat/shop.env; systemctl reload wechat@shop")


def test_the_log_loses_no_line_while_it_is_rotated(shop: Host) -> None:
    count = "zcat -f /var/log/wechat/shop/wechat.log* | grep -c ' wechat message '"
    shop.say("the first")
    before = int(shop.sh(count))
    rotate = "logrotate --force --state /srv/share/rotated /etc/logrotate.d/wechat-shop"
    with shop.traffic() as seen:
        for _ in range(4):
            shop.sh(f"{rotate}; sleep 3")
    assert set(seen) == {"1.0 n 1"}
    assert int(shop.sh(count)) - before == sum(seen.values())
    assert len(shop.sh("ls /var/log/wechat/shop/wechat.log*").split()) == 5
    # Idle workers follow with their next line.
    assert shop.say("the last") == "1.0 the last"
    assert shop.sh("stat -c '%U %a' /var/log/wechat/shop/wechat.log") == "wechat-shop 600\n"
