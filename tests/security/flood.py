"""A flood of posts that nobody signed, from wrk."""

import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.security.conftest import PATH, Site
from tests.servers import AES_KEY, program

CONNECTIONS = 50
_MESSAGE = (
    b"<xml><FromUserName>o</FromUserName><ToUserName>gh</ToUserName><MsgType>text</MsgType><Content>x</Content></xml>"
)
_SEALED = f"<xml><ToUserName>gh</ToUserName><Encrypt>{AES_KEY * 8}</Encrypt></xml>".encode()
_SCRIPT = """
wrk.method = "POST"
wrk.path = os.getenv("TARGET")
wrk.body = io.open(os.getenv("BODY"), "rb"):read("*a")
local statuses, file = {}, nil
function init(args) file = assert(io.open(os.getenv("STATUSES"), "wb")) end
function response(status, headers, body) file:write(status, "\\n") end
"""


@contextmanager
def flood(
    site: Site, folder: Path, body: bytes = b"", connections: int = CONNECTIONS
) -> Iterator[Callable[[], Counter[int]]]:
    """Post to ``site`` as fast as can be; yields a function that returns how often which status came, in the end."""
    script, statuses = folder / "flood.lua", folder / "statuses"
    script.write_text(_SCRIPT)
    (folder / "flood.body").write_bytes(body or (_MESSAGE if site.mode == "normal" else _SEALED))
    query = f"signature={'0' * 40}&msg_signature={'0' * 40}&timestamp=1714037059&nonce=1&encrypt_type=aes"
    env = {"TARGET": f"{PATH}?{query}", "BODY": str(folder / "flood.body"), "STATUSES": str(statuses)}
    command = [program("wrk"), "-t1", f"-c{connections}", "-d100", "-s", str(script), f"http://127.0.0.1:{site.port}"]
    running = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def counted() -> Counter[int]:
        return Counter(int(line) for line in statuses.read_text().split("\n")[:-1])

    try:
        yield counted
    finally:
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate()
    assert errors == b"", errors
