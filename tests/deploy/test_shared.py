"""What all accounts share, the unit and the command: nothing of it is lost where an upgrade fails or is broken off."""

import pytest

from tests.deploy.bot import bot
from tests.deploy.conftest import Host
from tests.servers import wait_for

pytestmark = pytest.mark.timeout(600)

UNITS = "/etc/systemd/system"
SHARED = f"{UNITS}/wechat@.service {UNITS}/wechat-ips@.timer /usr/local/bin/wechat"


def newer_files(shop: Host) -> str:
    """Make the shared files those of a newer version, as after a neighbour's upgrade, and return their sums."""
    return shop.sh(f"for file in {SHARED}; do echo '# newer' >> $file; done; systemctl daemon-reload; md5sum {SHARED}")


def break_off(shop: Host, command: str, where: str) -> None:
    """Let the installer end as by Ctrl-C right ``where`` (``before`` or ``after``) its line ``command``."""
    end = "kill -TERM $$"
    lines = f"{end}\n{command}\n" if where == "before" else f"{command}\n{end}\n"
    installer = shop.source / "deploy" / "install"
    text = installer.read_text()
    assert text.count(f"\n{command}\n") == 1
    installer.write_text(text.replace(f"\n{command}\n", f"\n{lines}"))


def test_an_upgrade_that_fails_leaves_a_neighbours_newer_files(shop: Host, same_bot: str) -> None:
    newer = newer_files(shop)
    only_there = "import os\nassert 'LOGS_DIRECTORY' not in os.environ, 'only as the service'"
    bot(shop.share, "6.0", first=only_there)
    done = shop.install("BOT=/srv/share/mybot-6.0-py3-none-any.whl")
    assert (done.status != 0, "The one before runs" in done.said) == (True, True), done.said
    assert shop.sh(f"md5sum {SHARED}") == newer
    wait_for(lambda: shop.say("hi") == "1.0 hi", what="the version of before")
    done = shop.install(same_bot)
    assert (done.status, "restarting wechat@shop" in done.said) == (0, True), done.said
    assert shop.run("grep", "# newer", *SHARED.split()).said == ""


def test_an_upgrade_broken_off_before_the_switch_changes_nothing(shop: Host, same_bot: str) -> None:
    newer, before, there = newer_files(shop), shop.running, shop.sh("ls /opt/wechat/shop/releases")
    break_off(shop, 'switch_to "$release"', "before")
    assert shop.install(same_bot).status != 0
    assert (shop.sh(f"md5sum {SHARED}"), shop.running) == (newer, before)
    assert shop.sh("ls /opt/wechat/shop/releases") == there
    assert shop.sh("systemctl show -P NeedDaemonReload wechat@shop") == "no\n"


def test_an_upgrade_broken_off_after_the_switch_leaves_a_version_that_starts(shop: Host, same_bot: str) -> None:
    break_off(shop, 'switch_to "$release"', "after")
    assert shop.install(same_bot).status != 0
    shop.sh("systemctl restart wechat@shop")
    wait_for(lambda: shop.say("hi") == "1.0 hi", what="an answer after the restart")


def test_a_unit_that_came_with_a_neighbour_is_restarted_into_once(shop: Host, same_bot: str) -> None:
    _, master, _ = shop.running
    shop.sh("echo '# older' >> /opt/wechat/shop/current/deploy/wechat@.service")
    done = shop.install(same_bot)
    assert (done.status, "restarting wechat@shop" in done.said) == (0, True), done.said
    _, second_master, _ = shop.running
    assert second_master != master
    done = shop.install(same_bot)
    assert (done.status, shop.running[1]) == (0, second_master), done.said


def test_a_reload_that_the_unit_names_and_an_older_version_lacks_does_no_harm(shop: Host) -> None:
    before, check = shop.running, "/opt/wechat/shop/current/deploy/check"
    shop.sh(f"mv {check} {check}.gone")
    done = shop.run("systemctl", "reload", "wechat@shop")
    shop.sh(f"mv {check}.gone {check}")
    assert (done.status != 0, shop.running) == (True, before)
    assert shop.sh("systemctl is-active wechat@shop") == "active\n"
    assert shop.say("hi") == "1.0 hi"
