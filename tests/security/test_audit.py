"""make audit with the real pip-audit, and a service of advisories played locally."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request

from tests.security import audit
from tests.servers import free_port
from tests.wechat_server import serve_app

ADVISORY = {
    "id": "PYSEC-2099-1",
    "summary": "worse than it looks",
    "aliases": [],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "flask"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9.9"}]}],
            "versions": ["3.1.3"],
        }
    ],
}


@pytest.fixture
def advisories() -> Iterator[str]:
    """Return the address of a service like OSV's, which knows something of flask."""
    app = Flask("advisories")

    @app.post("/v1/query")
    def query() -> Response:
        name = json.loads(request.get_data())["package"]["name"]
        return Response(json.dumps({"vulns": [ADVISORY]} if name == "flask" else {}), mimetype="application/json")

    with serve_app(lambda: app) as port:
        yield f"http://127.0.0.1:{port}/v1/query"


def audited(folder: Path, wanted: str, url: str) -> int:
    (folder / "requirements.txt").write_text(wanted)
    options = ["--vulnerability-service", "osv", "--osv-url", url, "--cache-dir", str(folder / "cache")]
    return audit.main(folder / "requirements.txt", options)


def test_a_vulnerability_fails_and_says_where_it_is_fixed(
    tmp_path: Path, advisories: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audited(tmp_path, "flask==3.1.3\nsix==1.17.0\n", advisories) == 1
    assert capsys.readouterr().out == "flask 3.1.3: PYSEC-2099-1; fixed in: 9.9.9\n2 of 2 packages audited\n"


def test_packages_of_which_nothing_is_known_are_well(
    tmp_path: Path, advisories: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audited(tmp_path, "six==1.17.0\n", advisories) == 0
    assert capsys.readouterr().out == "1 of 1 packages audited\n"


def test_where_nobody_can_be_asked_it_says_so_and_does_not_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audited(tmp_path, "six==1.17.0\n", f"http://127.0.0.1:{free_port()}/") == 0
    assert capsys.readouterr().out.startswith("NOT AUDITED: the advisories cannot be reached from here.")


def test_what_is_wrong_with_the_file_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audited(tmp_path, "flask=>3\n", "http://127.0.0.1:1/") == 1
    assert capsys.readouterr().out.startswith("pip-audit failed:")


UNKNOWN: dict[str, Any] = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b (1)"}
KNOWN: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ([UNKNOWN, UNKNOWN], ["NOT AUDITED: none of 2 packages is known where the advisories are asked for"]),
        ([KNOWN, UNKNOWN], ["not audited: b", "1 of 2 packages audited"]),
    ],
)
def test_a_mirror_without_advisories_is_no_good_news(packages: list[dict[str, Any]], said: list[str]) -> None:
    assert audit.report(packages) == (said, False)
