"""A provider whose answers a test decides, request by request: a server on a thread of its own for real processes."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any, Self

from aiohttp import web

USAGE: Mapping[str, Any] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
# So long takes every answer: requests that are sent at once are in flight at once.
_LATENCY_S = 0.01


@dataclass(frozen=True, slots=True)
class Asked:
    """The `number`th request, counted from 1; `answered` is how many were answered with a 200 before this one is."""

    number: int
    answered: int
    model: str
    key: str
    prompt: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back: an answer with `usage` (None: none at all) and what is `beside` it, or an error (`status`).

    With `calls` of tools, each a name and arguments, the answer asks for these. One that `hangs` never comes.
    """

    status: int = 200
    text: str = "an answer"
    usage: Any = field(default_factory=lambda: dict(USAGE))
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    hangs: bool = False
    beside: Mapping[str, Any] = field(default_factory=dict)

    def body(self, model: str) -> dict[str, Any]:
        """As OpenAI's chat completions have it."""
        if self.status != 200:
            return {"error": {"message": self.text, "type": self.code, "code": self.code}}
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.calls:
            functions = [{"name": name, "arguments": json.dumps(given)} for name, given in self.calls]
            message["tool_calls"] = [
                {"id": f"call_{i}", "type": "function", "function": one} for i, one in enumerate(functions)
            ]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if self.calls else "stop"}
        told = {} if self.usage is None else {"usage": self.usage}
        return {"id": "1", "object": "chat.completion", "model": model, "choices": [choice], **told, **self.beside}


class Fickle:
    """`with Fickle(lambda asked: Reply()) as provider: ... provider.base_url ...`; `asked` is all that came."""

    def __init__(self, mood: Callable[[Asked], Reply]) -> None:
        self._mood = mood
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self.asked: list[Asked] = []
        self.answered = 0
        self.base_url = ""
        self._over = asyncio.Event()

    def models(self) -> list[str]:
        """Which model each request was for."""
        return [asked.model for asked in self.asked]

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def _handle(self, request: web.Request) -> web.Response:
        body: Any = json.loads(await request.read())
        asked = Asked(
            number=len(self.asked) + 1,
            answered=0,
            model=body["model"],
            key=request.headers.get("authorization", "").removeprefix("Bearer "),
            prompt="\n".join(str(message["content"]) for message in body["messages"] if message["role"] == "user"),
            body=body,
        )
        self.asked.append(asked)
        await asyncio.sleep(_LATENCY_S)
        reply = self._mood(replace(asked, answered=self.answered))
        if reply.hangs:
            await self._over.wait()
        self.answered += reply.status == 200
        return web.json_response(reply.body(asked.model), status=reply.status, headers=reply.headers)
