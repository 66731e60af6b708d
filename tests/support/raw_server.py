"""`RawServer`: a TCP server whose replies the test writes byte by byte, in the test's own event loop."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
# What is sent for a request, piece by piece; CLOSE and RESET end the connection, WORK takes WORK_S seconds.
Pieces = Iterable[bytes]
CLOSE = b"<close>"
RESET = b"<reset>"
WORK = b"<work>"
WORK_S = 0.2


@dataclass
class RawServer:
    """Answers the n-th request with the n-th of `replies`, the last one again and again."""

    port: int
    replies: list[Pieces]
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    resumed: list[bool] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        if (tls := writer.get_extra_info("ssl_object")) is not None:
            self.resumed.append(tls.session_reused)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(
            next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")).split(b":")[1]
        )
        self.requests.append(head + await reader.readexactly(length))
        pieces = self.replies[min(len(self.requests), len(self.replies)) - 1]
        for piece in pieces:
            if piece == CLOSE:
                return False
            if piece == RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return False
            if piece == WORK:
                await asyncio.sleep(WORK_S)
                continue
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # so that pieces arrive one by one, as far as that can be had
        return True


@asynccontextmanager
async def raw_server(*replies: Pieces, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """A RawServer on a free port of 127.0.0.1."""
    served = RawServer(0, list(replies))
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
