"""The mock's HTTP server: which endpoint answers which path, and how requests and replies travel.

`calls` answers requests for a model; `files`, `openai_batches` and `anthropic_batches` have endpoints of their own, and
`controls` those for tests: the ledger, limits, the clock and faults.
"""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from signal import SIGINT, SIGTERM
from socket import gaierror

import anyio
from aiohttp import web

from crewrun.errors import UsageError
from crewrun.mock.clock import MockClock
from crewrun.mock.endpoint import MockRequest, Refused
from crewrun.mock.mock import Mock, Route
from crewrun.mock.replies import MockReply
from crewrun.mock.settings import Settings

# aiohttp's own limit is 1 MiB. Requests with images and documents take tens of MB, and batch jobs up to 256 MB.
_MAX_BODY_BYTES = 320 * 1024 * 1024


def serve(settings: Settings, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then end at once, even if requests hang.

    `on_listening` is called with the base URL once the server listens. Raises UsageError if it cannot.
    """
    options = {"use_uvloop": find_spec("uvloop") is not None}
    anyio.run(_serve, settings, on_listening, backend_options=options)


async def _serve(settings: Settings, on_listening: Callable[[str], None]) -> None:
    # aiohttp takes a timeout of 0 for no timeout; a very short one ends requests that hang.
    runner = web.AppRunner(make_app(settings), access_log=None, handler_cancellation=True, shutdown_timeout=0.01)
    with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        await runner.setup()
        try:
            await _listen(runner, settings)
            host, port = runner.addresses[0][:2]
            on_listening(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1")
            await anext(signals)
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
    except UnicodeError:
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: that is no name of a host") from None
    except OSError as error:
        # uvloop has its own text for a failed bind; for a host without an address, the errno is not the system's.
        reason = error.strerror if isinstance(error, gaierror) else os.strerror(error.errno or 0)
        hint = ": pick another --port, or --port 0 for any free one" if error.errno == errno.EADDRINUSE else ""
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: {reason}{hint}") from error


def make_app(settings: Settings) -> web.Application:
    """The mock as an aiohttp application."""
    mock = Mock(settings)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    for route in mock.routes():
        app.router.add_route(route.method, route.path, _served(route, mock.clock))
    return app


def _served(route: Route, clock: MockClock) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve_request(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        mock_request = MockRequest(request, await request.read(), _peer(request))
        try:
            reply = await route.endpoint(mock_request)
        except Refused as error:
            reply = route.refusal(error.refusal)
        if reply.pieces:
            return await _send_pieces(request, reply, clock)
        if reply.cut and transport:
            transport.abort()
        return web.Response(
            body=reply.body, status=reply.status, headers={**reply.headers, "Content-Type": reply.content_type}
        )

    return serve_request


async def _send_pieces(request: web.Request, reply: MockReply, clock: MockClock) -> web.StreamResponse:
    response = web.StreamResponse(
        status=reply.status, headers={**reply.headers, "Content-Type": reply.content_type, "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    count = len(reply.pieces) // 2 if reply.cut else len(reply.pieces)
    for number, piece in enumerate(reply.pieces[:count]):
        if number and reply.pause_s:
            await clock.sleep(reply.pause_s)
        await response.write(piece)
    if reply.cut and request.transport:
        # What was written has to leave before the connection breaks.
        await asyncio.sleep(0)
        request.transport.close()
        return response
    await response.write_eof()
    return response


def _peer(request: web.Request) -> tuple[str, int]:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return peer[:2] if peer else ("", 0)
