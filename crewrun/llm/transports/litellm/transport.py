"""`LitellmTransport`: one attempt of a call, through litellm."""

import asyncio
from typing import Any
from weakref import WeakSet

import anyio
import anyio.to_thread

from crewrun.errors import CallError
from crewrun.library_warnings import tolerant
from crewrun.llm.transports.litellm.errors import as_call_error
from crewrun.llm.transports.litellm.library import close_clients, load_litellm
from crewrun.llm.transports.litellm.replies import read_response
from crewrun.llm.transports.litellm.requests import keywords
from crewrun.llm.transports.litellm.wire import WireReply, current_reply, own_account
from crewrun.messages import ChatRequest, Completion


class LitellmTransport:
    """Sends requests through litellm. Needs asyncio: litellm's HTTP clients are aiohttp's."""

    def __init__(self) -> None:
        self._litellm: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Protects the import: without it every row of the first wave would wait for it in its own worker thread.
        self._loading = anyio.Lock()

    @tolerant
    async def send(self, request: ChatRequest) -> Completion:
        """One attempt, as `Transport.send` says. The first call imports litellm, which takes seconds."""
        return await self._send(request, WireReply(own_account(request.endpoint)))

    @tolerant
    async def body_of(self, request: ChatRequest) -> bytes:
        """The body that `send` would post, by the provider's own wire. Raises the CallError that it would raise."""
        draft = WireReply(own_account(request.endpoint), is_draft=True)
        try:
            await self._send(request, draft)
        except CallError:
            if draft.request is None:
                raise
        assert draft.request is not None  # noqa: S101  (a draft is never answered)
        return draft.request

    @tolerant
    async def read(self, body: bytes, request: ChatRequest) -> Completion:
        """The answer in the body of a reply to `request` that came another way. Raises as `send` does."""
        return await self._send(request, WireReply(own_account(request.endpoint), stored=body))

    async def _send(self, request: ChatRequest, reply: WireReply) -> Completion:
        token = current_reply.set(reply)
        try:
            litellm = self._litellm or await self._load()
            response = await litellm.acompletion(**keywords(request))
            return read_response(response, reply)
        except CallError:
            raise
        # A boundary to foreign code, as `Worker.run` is: litellm lets through any exception of a provider's code
        # (KeyError, ImportError, botocore's errors ...), and a send raises nothing but a CallError.
        except Exception as error:
            raise as_call_error(error, reply) from error
        finally:
            current_reply.reset(token)

    @tolerant
    async def aclose(self) -> None:
        """Close this event loop's connections, unless another LitellmTransport on the loop still uses them."""
        if self._litellm is None:
            return
        litellm, self._litellm = self._litellm, None
        _OPEN.discard(self)
        loop = asyncio.get_running_loop()
        if not any(other._loop is loop for other in _OPEN):
            await close_clients(litellm)

    async def _load(self) -> Any:
        async with self._loading:
            if self._litellm is None:
                self._litellm = await anyio.to_thread.run_sync(load_litellm, abandon_on_cancel=True)
                self._loop = asyncio.get_running_loop()
                _OPEN.add(self)
        return self._litellm


# Module state, because litellm's is: it caches its HTTP clients for the whole process, a set for each loop, and the
# first transport to close would otherwise cut off the calls of the others.
_OPEN: WeakSet[LitellmTransport] = WeakSet()
