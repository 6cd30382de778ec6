"""Requests that no client library would send: bytes on a socket, and the answers that come back."""

import json
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

OPERATOR, OUTSIDER = "127.0.0.1", "127.0.0.2"
"""An address that nginx knows as the machine's own, and one of the same machine that it takes for a stranger's."""
_SECONDS = 10


class Answer(NamedTuple):
    """An answer of nginx or uWSGI; ``seen`` is what the application was told, None where it was not asked."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def seen(self) -> dict[str, Any] | None:
        return json.loads(self.headers["seen"]) if "seen" in self.headers else None


def connect(port: int, source: str = OUTSIDER) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), _SECONDS, (source, 0))


def exchange(port: int, data: bytes, source: str = OUTSIDER) -> list[Answer]:
    """Send ``data`` and return every answer until the server hangs up."""
    with connect(port, source) as connection:
        with suppress(ConnectionError):  # refused before it was all sent
            connection.sendall(data)
        return answers(received(connection))


def first_answer(port: int, data: bytes, source: str = OUTSIDER) -> Answer:
    """Send ``data`` and return the first answer; nginx keeps the connection of who is refused open for a while."""
    with connect(port, source) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        return answer_from(connection)


def answer_from(connection: socket.socket) -> Answer:
    """Return the next answer as soon as it is whole."""
    found = b""
    while b"\r\n\r\n" not in found and (part := connection.recv(65536)):
        found += part
    (answer,) = answers(found[: found.find(b"\r\n\r\n") + 4])
    found = found.partition(b"\r\n\r\n")[2]
    while len(found) < int(answer.headers.get("content-length", 0)) and (part := connection.recv(65536)):
        found += part
    return answer._replace(body=found)


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the server hangs up."""
    found = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


def answers(data: bytes) -> list[Answer]:
    """Cut what a server sent into its answers; one without a status line (HTTP/0.9) has the status 0."""
    found: list[Answer] = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        if not lines[0].startswith("HTTP/"):
            return [*found, Answer(0, {}, data)]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", len(rest)))
        found.append(Answer(int(lines[0].split()[1]), headers, rest[:length]))
        data = rest[length:]
    return found


def request(target: str | bytes, *headers: str, method: str = "GET", body: bytes = b"", host: str = "x") -> bytes:
    """Return a request for exactly ``target``, whose connection ends with its answer."""
    target = target.encode() if isinstance(target, str) else target
    lines = [f"Host: {host}", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + head + b"\r\n" + body


def packet(payload: dict[str, str] | bytes, modifiers: tuple[int, int] = (0, 0)) -> bytes:
    """Return a packet of uWSGI's own protocol: variables, or bytes for another of its parts."""
    if isinstance(payload, dict):
        words = [word.encode() for pair in payload.items() for word in pair]
        payload = b"".join(struct.pack("<H", len(word)) + word for word in words)
    return struct.pack("<BHB", modifiers[0], len(payload), modifiers[1]) + payload


def ask_on_socket(path: Path, payload: dict[str, str] | bytes, modifiers: tuple[int, int] = (0, 0)) -> bytes:
    """Say something in uWSGI's own protocol, as nginx does: variables, or bytes for another of its parts."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(str(path))
        connection.sendall(packet(payload, modifiers))
        return received(connection)
