"""A Redis of a test's own that can be stopped, killed and started again."""

import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.servers import Server, environment, free_port, program


class RedisServer:
    """Keeps nothing on the disk, but with ``options``; ``url`` stays the same over all its lives."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        own = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._server = Server([program("redis-server"), *own, *options], folder, environment())

    def __enter__(self) -> Self:
        self._server.wait_until(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()  # or it would not hear that it must end
        self._server.stop()

    def pause(self) -> None:
        """Let it say nothing any more, with all connections open."""
        self._server.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._server.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with all that it held."""
        self._server.process.kill()
        self._server.process.wait()

    def start_again(self) -> None:
        """Start it after it was killed, empty."""
        self._server.start()
        self._server.wait_until(self._answers)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
        return False
