"""The doctor on caches: real Redis and memcached, as they should be and not."""

from pathlib import Path

import pytest
from redis import Redis

from app.doctor.cache import check_cache
from tests.cache_servers import PASSWORD, memcached_server, redis_server
from tests.doctor.conftest import Look, said
from tests.servers import free_port


def test_uwsgis_own_is_good_for_one_machine_and_no_more(look: Look) -> None:
    assert [finding.status for finding in look(check_cache, 1)] == ["ok"]
    [(status, text)] = said(look(check_cache, 2), "cache")
    assert status == "wrong"
    assert "redis://" in text


def test_redis_that_answers_is_ok_and_says_how_it_keeps_what_it_has(look: Look, tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        findings = look(check_cache, 1, WECHAT_CACHE_URL=f"redis://127.0.0.1:{server.port}")
    assert [finding.name for finding in findings] == ["cache", "Redis memory", "Redis persistence"]
    assert {finding.status for finding in findings} == {"ok"}
    assert "without a limit" in findings[1].found


def test_redis_that_is_nearly_full_is_a_warning(look: Look, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "20mb", "--maxmemory-policy", "noeviction") as server:
        with Redis(port=server.port) as connection:
            for number in range(1700):
                connection.set(f"much{number}", b"x" * 10_000)
        findings = look(check_cache, 1, WECHAT_CACHE_URL=f"redis://127.0.0.1:{server.port}")
    [(status, text)] = said(findings, "Redis memory")
    assert (status, "larger maxmemory" in text) == ("warning", True), text


def test_redis_that_throws_away_what_is_needed_is_a_warning(look: Look, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as server:
        findings = look(check_cache, 1, WECHAT_CACHE_URL=f"redis://127.0.0.1:{server.port}")
    [(status, text)] = said(findings, "Redis memory")
    assert status == "warning"
    assert "maxmemory-policy noeviction" in text


def test_redis_that_does_not_tell_of_itself_is_ok(look: Look, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--rename-command", "INFO", "") as server:
        findings = look(check_cache, 1, WECHAT_CACHE_URL=f"redis://127.0.0.1:{server.port}")
    assert [status for status, _ in said(findings, "Redis memory")] == ["ok"]


def test_a_redis_of_this_machine_for_several_is_a_warning(look: Look, tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        findings = look(check_cache, 3, WECHAT_CACHE_URL=f"redis://127.0.0.1:{server.port}")
    assert [status for status, _ in said(findings, "cache")] == ["ok", "warning"]


def test_redis_that_is_full_is_wrong(look: Look, tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as server:
        findings = look(check_cache, 1, WECHAT_CACHE_URL=f"redis://127.0.0.1:{server.port}")
    [(status, text)] = said(findings, "cache")
    assert status == "wrong"
    assert "maxmemory" in text


@pytest.mark.parametrize("scheme", ["redis", "memcached"])
def test_a_server_that_is_down_is_wrong(scheme: str, look: Look) -> None:
    [(status, text)] = said(look(check_cache, 1, WECHAT_CACHE_URL=f"{scheme}://127.0.0.1:{free_port()}"), "cache")
    assert status == "wrong"
    assert "does not answer" in text
    assert PASSWORD not in text


def test_memcached_that_answers_is_ok(look: Look, tmp_path: Path) -> None:
    with memcached_server(tmp_path) as server:
        findings = look(check_cache, 1, WECHAT_CACHE_URL=f"memcached://127.0.0.1:{server.port}")
    assert [finding.status for finding in findings] == ["ok"]
