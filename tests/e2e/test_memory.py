"""What a real uWSGI takes while it has nothing to do."""

from pathlib import Path

from tests.load.site import footprint
from tests.servers import environment, free_port, uwsgi


def idle_mb(folder: Path, replacements: dict[str, str]) -> float:
    folder.mkdir()
    with uwsgi(folder, environment(), port=free_port(), replacements=replacements) as server:
        return footprint(server.process.pid).memory_mb


def test_workers_share_the_memory_of_their_packages(tmp_path: Path) -> None:
    shared = idle_mb(tmp_path / "shared", {})
    apart = idle_mb(tmp_path / "apart", {"shared-import = preload": ""})
    assert shared < 0.92 * apart, (shared, apart)
