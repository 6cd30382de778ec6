"""The lines of docs/platforms.md, started as a platform starts them."""

import subprocess
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from tests.cache_servers import PASSWORD
from tests.database_servers import DatabaseServer
from tests.platforms.conftest import Start, scan, variables_of, wait_for_scan
from tests.platforms.pages import block, codes
from tests.servers import TOKEN, free_port

PAGE = "platforms.md"
POSTER = "[图文] 七号海报 https://example.com/poster-7"
# SAE's and Apache's part: they run an entry file, whatever its name, from a folder of their own.
RUN_FILE = """exec python -c "
import runpy, sys, waitress
waitress.serve(runpy.run_path(sys.argv[1])['application'], listen=sys.argv[2])
" {file} 127.0.0.1:{port}"""


def process(name: str) -> str:
    """Return the Procfile's line of this name."""
    lines = dict(line.split(": ", 1) for line in block(PAGE, "`Procfile`").splitlines())
    return lines[name]


def run(line: str, folder: Path, **variables: str) -> None:
    done = subprocess.run(line, shell=True, cwd=folder, env=variables_of(**variables), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def url_of(mariadb: DatabaseServer, database: str = "wechat") -> str:
    """Return the URL of one of its databases, for SQLAlchemy itself."""
    return f"mysql+pymysql://wechat@127.0.0.1:{mariadb.port}/{database}"


def mysql_variables(mariadb: DatabaseServer) -> dict[str, str]:
    address = f"127.0.0.1:{mariadb.port}"
    return {"MYSQL_ADDRESS": address, "MYSQL_USERNAME": "wechat", "MYSQL_PASSWORD": PASSWORD}


def test_a_procfile_migrates_and_serves(start: Start, checkout: Path, tmp_path: Path) -> None:
    port, database = free_port(), f"sqlite:///{tmp_path}/platform.db"
    variables = {"PORT": str(port), "DATABASE_URL": database}
    run(process("release"), checkout, **variables)
    server = start(process("web"), port, **variables)
    assert scan(port) == POSTER
    wait_for_scan(database)
    assert TOKEN not in server.output()


def test_a_procfile_without_a_database_uses_the_default(start: Start, checkout: Path) -> None:
    port = free_port()
    run(process("release"), checkout)
    start(process("web"), port, PORT=str(port))
    assert scan(port) == POSTER
    wait_for_scan(f"sqlite:///{checkout}/instance/wechat.db")


def test_a_containers_command_uses_the_platforms_mysql(start: Start, checkout: Path, mariadb: DatabaseServer) -> None:
    (checkout / "cloud.py").write_text(block(PAGE, "`cloud.py`"))
    port = free_port()
    command = block(PAGE, "`Dockerfile`").partition("\nCMD ")[2]
    server = start(command, port, PORT=str(port), **mysql_variables(mariadb))
    assert scan(port, "container") == ""
    wait_for_scan(url_of(mariadb), "container")
    assert PASSWORD not in server.output()


def test_wechats_own_push_into_a_container_is_refused_as_it_has_no_signature(
    start: Start, checkout: Path, mariadb: DatabaseServer
) -> None:
    (checkout / "cloud.py").write_text(block(PAGE, "`cloud.py`"))
    port = free_port()
    start(function_command(port), port, **mysql_variables(mariadb))
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/wechat", body=b"<xml><action>CheckContainerPath</action></xml>")
    assert connection.getresponse().status == 403
    connection.close()


def test_a_functions_server_keeps_its_connections(start: Start, checkout: Path, mariadb: DatabaseServer) -> None:
    (checkout / "cloud.py").write_text(block(PAGE, "`cloud.py`"))
    run("flask --app cloud db upgrade", checkout, **mysql_variables(mariadb))
    port = free_port()
    start(function_command(port), port, **mysql_variables(mariadb))
    assert scan(port, "function") == ""
    wait_for_scan(url_of(mariadb), "function")
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/wechat")
    assert connection.getresponse().read() == b"forbidden"
    kept = connection.sock
    connection.request("GET", "/wechat")
    assert connection.getresponse().read() == b"forbidden"
    assert connection.sock is kept is not None
    connection.close()


def function_command(port: int) -> str:
    return "exec " + block(PAGE, "The start command for both").replace("9000", str(port))


def test_saes_entry_file_uses_saes_mysql(start: Start, checkout: Path, mariadb: DatabaseServer, tmp_path: Path) -> None:
    (checkout / "index.wsgi").write_text(block(PAGE, "`index.wsgi`"))
    (checkout / ".env").write_text(f"WECHAT_TOKEN={TOKEN}\n")
    port = free_port()
    with mariadb.database() as url:
        database = str(make_url(url).database)
        account = f"wechat:{quote(PASSWORD, safe='')}"
        run("flask db upgrade", checkout, WECHAT_DATABASE_URL=f"mysql://{account}@127.0.0.1:{mariadb.port}/{database}")
        constants = {"DB": database, "USER": "wechat", "PASS": PASSWORD, "HOST": "127.0.0.1", "PORT": str(mariadb.port)}
        variables = {f"STAND_IN_MYSQL_{name}": value for name, value in constants.items()}
        line = RUN_FILE.format(file=checkout / "index.wsgi", port=port)
        stand_ins = str(Path(__file__).parent / "stand_ins")
        start(line, port, folder=tmp_path, WECHAT_TOKEN="", PYTHONPATH=stand_ins, **variables)
        assert scan(port) == POSTER
        wait_for_scan(url_of(mariadb, database))


def test_a_wsgi_file_finds_the_settings_from_wherever_it_is_run(start: Start, checkout: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "app.wsgi"
    elsewhere.write_text(block(PAGE, "`app.wsgi`").replace("/srv/wechatPlatform", str(checkout)))
    (checkout / ".env").write_text(f"WECHAT_TOKEN={TOKEN}\n")
    run("flask db upgrade", checkout)
    port = free_port()
    start(RUN_FILE.format(file=elsewhere, port=port), port, folder=tmp_path, WECHAT_TOKEN="")
    assert scan(port) == POSTER
    wait_for_scan(f"sqlite:///{checkout}/instance/wechat.db")


@pytest.mark.parametrize("page", ["platforms", "tunnels"])
def test_both_languages_have_the_same_lines(page: str) -> None:
    assert codes(f"{page}.md") == codes(f"{page}.zh-CN.md")
