"""A second account beside the first, staged below a folder; and its end."""

import re
from collections.abc import Iterator

import pytest

from tests.deploy.conftest import Host
from tests.deploy.machine import Done
from tests.servers import ROOT, wait_for

STAGE = "/srv/share/stage"
pytestmark = pytest.mark.timeout(600)
EARLIER = "WECHAT_TOKEN=tokenOfEarlier\nWECHAT_PATH=/wechat/school\n"


@pytest.fixture(scope="module")
def staged(host: Host, installed: Done) -> Host:
    """School, staged with users of the stage's own, and with settings from an earlier time."""
    host.sh(f"mkdir -p {STAGE}/etc/wechat")
    host.sh(f"printf '{EARLIER}' > {STAGE}/etc/wechat/school.env; chmod 600 {STAGE}/etc/wechat/school.env")
    before = left(host)
    done = host.make("install", "ACCOUNT=school", f"DESTDIR={STAGE}", WECHAT_TOKEN="anotherToken")
    assert done.status == 0, done.said
    assert left(host) == before
    return host


@pytest.fixture(scope="module")
def school(staged: Host) -> Iterator[Host]:
    """What was staged, put on the disk as a package would, and started as docs/deploy.md says."""
    staged.sh(
        f"cd {STAGE}/etc; rm -f *passwd* *shadow* *group* .pwd.lock; cp --archive --no-target-directory {STAGE} /"
    )
    [commands] = re.findall(r"```sh\n(systemd-sysusers\n.*?)```", (ROOT / "docs/deploy.md").read_text(), re.DOTALL)
    assert staged.run("bash", "-euc", commands.replace("shop", "school")).status == 0
    yield staged
    staged.make("uninstall", "ACCOUNT=school", "PURGE=1")


def left(host: Host) -> set[str]:
    return set(host.sh("find / -xdev -path /proc -prune -o -path /srv -prune -o -name '*school*' -print").split())


def test_what_is_staged_knows_nothing_of_the_stage(staged: Host) -> None:
    assert staged.sh(f"grep -rlI {STAGE} {STAGE} || true") == ""
    assert staged.sh(f"grep -rl {STAGE} {STAGE}/opt/wechat/school/current/app || true") == ""
    assert staged.sh(f"find {STAGE} -name '*school*' -printf '%P %m\\n' | grep -v releases/ | sort").splitlines() == [
        "etc/logrotate.d/wechat-school 644",
        "etc/nginx/wechat/school.conf 644",
        "etc/nginx/wechat/school.d 755",
        "etc/sysusers.d/wechat-school.conf 644",
        "etc/wechat/school.env 600",
        "etc/wechat/school.ini 644",
        "opt/wechat/.shipped/wechat/school.conf 600",
        "opt/wechat/school 755",
        "var/lib/wechat/school 700",
        "var/log/wechat/school 700",
    ]


def test_the_same_stage_takes_a_new_version(staged: Host) -> None:
    done = staged.make("install", "ACCOUNT=school", f"DESTDIR={STAGE}")
    assert done.status == 0, done.said
    assert staged.sh(f"grep -rlI {STAGE} {STAGE} || true") == ""


def test_what_is_staged_runs_as_its_own_user_with_the_settings_of_before(school: Host) -> None:
    wait_for(lambda: school.say("天气 北京", account="school") == "北京：晴，25 度", what="its answer")
    assert school.sh("cat /etc/wechat/school.env") == EARLIER
    assert school.sh("ps -C uwsgi -o user:20=,args= | grep school | sort -u").split()[0] == "wechat-school"


def test_a_neighbour_is_not_touched_when_an_account_goes(school: Host) -> None:
    before = school.running
    assert school.say("hi") == "1.0 hi"
    as_school = "setpriv --reuid wechat-school --regid wechat-school --init-groups"
    for path in ("/etc/wechat/shop.env", "/run/wechat/shop/uwsgi.sock", "/opt/wechat/shop/current/log.py"):
        assert school.run("bash", "-c", f"{as_school} test -r {path}").status == 1
    with school.traffic() as seen:
        gone = school.make("uninstall", "ACCOUNT=school")
    assert gone.status == 0, gone.said
    assert (set(seen), school.running) == ({"1.0 n 1"}, before)
    kept = {"/etc/wechat/school.env", "/etc/wechat/school.ini", "/var/lib/wechat/school", "/var/log/wechat/school"}
    assert left(school) == kept | {"/etc/sysusers.d/wechat-school.conf"}
    assert school.sh("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/wechat/school") == "404"


def test_it_goes_for_good_with_purge(school: Host) -> None:
    gone = school.make("uninstall", "ACCOUNT=school", "PURGE=1")
    assert gone.status == 0, gone.said
    assert left(school) == set()
    assert school.run("id", "wechat-school").status != 0
    assert "wechat-school" not in school.sh("cat /etc/group")
    assert school.say("hi") == "1.0 hi"
    assert "there is no account school; those installed: shop" in school.make("uninstall", "ACCOUNT=school").said
