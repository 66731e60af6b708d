"""A server in this event loop for the clients of batch jobs, whose answers the test determines."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from crewrun.llm.batch_jobs.http import JobsHttp

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncGenerator[JobsHttp, None]:
    """Requests to a server that answers all of them with `handler`."""
    runner = web.AppRunner(web.Application())
    runner.app.router.add_route("*", "/{path:.*}", handler)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    http = JobsHttp(f"http://127.0.0.1:{runner.addresses[0][1]}", {})
    try:
        yield http
    finally:
        await http.aclose()
        await runner.cleanup()
