"""`KillingRelay`: stands between a command and a server, and kills the command at a request or a reply.

What the command itself cannot see: that a request has arrived and been obeyed, and the answer has not.
"""

import re
import socketserver
from http.client import parse_headers
from io import BufferedIOBase, BytesIO
from socket import create_connection
from threading import Event, Thread
from types import TracebackType
from typing import Literal, NamedTuple, Self

from support.forks import Fork

Moment = Literal["before", "half", "after", "half answered", "answered"]


class WirePoint(NamedTuple):
    """The `n`th request, counted from 1, whose method and path match `pattern`.

    Before it, with half of it sent, after it was obeyed and without its answer, with half of that, or with all of it.
    `name` is that of the request.
    """

    moment: Moment
    name: str
    pattern: str
    n: int = 1

    def __str__(self) -> str:
        return f"{self.moment} {self.name} {self.n}"


class KillingRelay:
    """Relays HTTP to the server at `address` until its block ends: `with KillingRelay(mock.address) as relay: …`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._point: WirePoint | None = None
        self._left = 0
        self._victim: Fork | None = None
        self._is_armed = Event()
        relay = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                relay._relay(self.rfile, self.wfile)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def expect(self, point: WirePoint | None) -> None:
        """What is sent waits from now on until `kill_at_point` names the command; None kills none."""
        self._point, self._left, self._victim = point, point.n if point else 0, None
        self._is_armed.clear()
        if point is None:
            self._is_armed.set()

    def kill_at_point(self, victim: Fork) -> None:
        """Kill `victim` at the point that is expected."""
        self._victim = victim
        self._is_armed.set()

    def _relay(self, client: BufferedIOBase, answers: BufferedIOBase) -> None:
        """Relay the requests of one connection, until either end closes it or the command is killed."""
        while head := _read_head(client):
            self._is_armed.wait(60)
            moment = self._moment(head)
            request = head + _read_body(head, client)
            if moment == "before":
                return self._kill()
            with create_connection(self._address, timeout=60) as server:
                if moment == "half":
                    server.sendall(request[: len(request) // 2])
                    return self._kill()
                server.sendall(request)
                with server.makefile("rb") as replies:
                    reply = _read_head(replies)
                    reply += _read_body(reply, replies) if reply else b""
            if moment == "after":
                return self._kill()
            try:
                answers.write(reply[: len(reply) // 2] if moment == "half answered" else reply)
                answers.flush()
            except OSError:
                return None
            if moment:
                return self._kill()
            if not _is_whole(reply):
                return None
        return None

    def _moment(self, head: bytes) -> Moment | None:
        """When to kill at this request."""
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        if self._point is None or not re.match(self._point.pattern, f"{method} {path}"):
            return None
        self._left -= 1
        return self._point.moment if self._left == 0 else None

    def _kill(self) -> None:
        if self._victim is not None:
            self._victim.kill()
            self._victim.wait(10)


def _read_head(stream: BufferedIOBase) -> bytes:
    """The first line and the headers, empty when the connection is closed."""
    lines: list[bytes] = []
    try:
        while (line := stream.readline()) not in (b"", b"\r\n"):
            lines.append(line)
    except OSError:
        return b""
    return b"".join([*lines, b"\r\n"]) if line else b""


def _read_body(head: bytes, stream: BufferedIOBase) -> bytes:
    headers = parse_headers(BytesIO(head.split(b"\r\n", 1)[1]))
    if headers.get("Transfer-Encoding") != "chunked":
        return stream.read(int(headers.get("Content-Length", "0")))
    body = b""
    while (size := stream.readline()) not in (b"", b"0\r\n"):
        body += size + stream.read(int(size, 16) + 2)
    return body + size + stream.readline()


def _is_whole(reply: bytes) -> bool:
    """Whether a reply has all that its headers promise; else the server has broken off."""
    head, _, body = reply.partition(b"\r\n\r\n")
    if not head:
        return False
    headers = parse_headers(BytesIO(head.split(b"\r\n", 1)[1] + b"\r\n\r\n"))
    if headers.get("Transfer-Encoding") == "chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) == int(headers.get("Content-Length", "0"))
