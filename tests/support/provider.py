"""A provider on the loopback that gives every request one reply, in whatever shape a test wants."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass
class Provider:
    """A provider that gives every request the same `reply`, unless it `decides` one for each, and keeps what it was
    asked.
    """

    url: str = ""
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    resets: bool = False
    decides: Callable[[Any], tuple[int, Any]] | None = None
    asked: list[tuple[str, Mapping[str, str], Any]] = field(default_factory=list)
    connections: list[asyncio.Transport] = field(default_factory=list)
    reached: anyio.Event = field(default_factory=anyio.Event)

    def reply(self, body: Any, status: int = 200, **headers: str) -> None:
        """Answer with `body` from now on; what is not bytes becomes JSON."""
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.path_qs, request.headers.copy(), await request.json()))
        assert request.transport is not None
        self.connections.append(request.transport)
        self.reached.set()
        if self.decides is not None:
            status, body = self.decides(self.asked[-1][2])
            self.reply(body, status)
        if self.hangs:
            await anyio.sleep_forever()
        if self.resets:
            # Closing with unsent data discarded is a TCP reset, not an end of stream.
            sock = request.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        return web.Response(
            status=self.status, body=self.body, headers={"content-type": "application/json", **self.headers}
        )


@asynccontextmanager
async def serving() -> AsyncIterator[Provider]:
    """A provider that takes a POST on any path of its `url`."""
    served = Provider()
    app = web.Application()
    app.router.add_post("/{path:.*}", served.handle)
    server = TestServer(app)
    await server.start_server()
    served.url = str(server.make_url("")).rstrip("/")
    yield served
    await server.close()
