"""A provider on the loopback that sends what providers really send, on a thread of its own for real processes.

A row says by its text what it gets: `topic 7 WIRE:some-case` has the replies of the script `some-case`, every other row
a completion that echoes it, `ok: topic 7`. Agents with tools are asked for `look_up` once before that, natively or in
words, and a request that wants JSON gets `{"title": "ok: topic 7"}`. Rules stand before the scripts and speak for
everybody: a revoked key, too many requests at once. A request without a row's text is a probe.
"""

import asyncio
import gzip
import json
import re
import socket
import struct
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from threading import Thread
from typing import Any, Literal, Self

from aiohttp import web

# What a script writes for the text of the row that it answers.
ROW = "ROW"
TOOL = "look_up"

_ROW_TEXT = re.compile(r"topic \d+(?: WIRE:[a-z0-9_-]+)?")
_SLOW_STEPS, _SLOW_STEP_S = 20, 0.05
_USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}

# whole; half of the body, then the end; a TCP reset; the end before a byte; no end at all; a byte group now and then.
Manner = Literal["whole", "cut", "reset", "closed", "hanging", "slow"]
# `results`: with the results of tools in it, so not an agent's first turn.
Shape = Literal["any", "tools", "schema", "strict", "results"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back. `body` is bytes, or becomes JSON, with the row's text for ROW. `after_s` is the latency."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = "whole"
    after_s: float | None = None

    def payload(self, row: str) -> bytes:
        """The body as it goes out."""
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body, ensure_ascii=False).replace(ROW, row).encode()


@dataclass(frozen=True, slots=True)
class Asked:
    """The `number`th request, counted from 1, `at_s` seconds after the first one.

    `row` is the row's text, None in a probe. `in_flight` counts this request too. `times` is how often the row was
    asked for, this time too.
    """

    number: int
    at_s: float
    row: str | None
    times: int
    in_flight: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def model(self) -> str:
        """The model that it is for."""
        return str(self.body.get("model"))

    @property
    def has_tools(self) -> bool:
        """Whether tools come as tools."""
        return bool(self.body.get("tools"))

    @property
    def has_schema(self) -> bool:
        """Whether a schema comes as `response_format`."""
        return (self.body.get("response_format") or {}).get("type") == "json_schema"

    @property
    def is_strict(self) -> bool:
        """Whether that schema is to be kept to strictly."""
        return self.has_schema and self.body["response_format"]["json_schema"].get("strict") is True

    @property
    def has_results(self) -> bool:
        """Whether tools have been called for it."""
        return any(message.get("role") == "tool" for message in self.body["messages"])

    def has(self, shape: Shape) -> bool:
        """Whether it is a request of that kind."""
        return (
            shape == "any"
            or {
                "tools": self.has_tools,
                "schema": self.has_schema,
                "strict": self.is_strict,
                "results": self.has_results,
            }[shape]
        )


@dataclass(frozen=True, slots=True)
class Script:
    """The replies to a row's first requests of a `shape`; `lasts`: the last one is the reply to all later ones too."""

    replies: tuple[Reply, ...]
    lasts: bool = False
    shape: Shape = "any"

    def reply(self, time: int) -> Reply | None:
        """The reply to the row's `time`th request of the shape, from 1 on; None when it gets its answer."""
        if time <= len(self.replies):
            return self.replies[time - 1]
        return self.replies[-1] if self.lasts else None


# What is said to a request before scripts and answers come to it; None is nothing.
Rule = Callable[[Asked], Reply | None]


def everybody(reply: Reply, *, shape: Shape = "any", first: int = 1, until_s: float = float("inf")) -> Rule:
    """`reply` to every request of a `shape`, from the `first`th request of all on, for so long."""
    return lambda asked: reply if asked.has(shape) and asked.number >= first and asked.at_s < until_s else None


def at_most(limit: int, reply: Reply) -> Rule:
    """`reply` to what comes while `limit` requests are in flight."""
    return lambda asked: reply if asked.in_flight > limit else None


def a_window(limit: int, window_s: float, reply: Reply) -> Rule:
    """`reply` to what comes after `limit` admitted requests within `window_s`."""
    admitted: deque[float] = deque()

    def rule(asked: Asked) -> Reply | None:
        while admitted and admitted[0] <= asked.at_s - window_s:
            admitted.popleft()
        if len(admitted) >= limit:
            return reply
        admitted.append(asked.at_s)
        return None

    return rule


def completion(text: Any, finish_reason: Any = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion; further fields belong to its message."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish_reason,
    }
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | {
        "usage": _USAGE
    }


def tool_call(arguments: Any, **fields: Any) -> dict[str, Any]:
    """A call of the tool, to stand in a message's `tool_calls`."""
    return {"type": "function", "function": {"name": TOOL, "arguments": arguments}, **fields}


@cache
def bomb(size_mib: int) -> bytes:
    """The gzip of a chat completion whose text has `size_mib` MiB, made in parts that are all alike."""
    head, tail = json.dumps(completion("|")).encode().split(b"|")
    block = b"a" * (1 << 20)
    crc = zlib.crc32(head)
    for _ in range(size_mib):
        crc = zlib.crc32(block, crc)
    crc = zlib.crc32(tail, crc)
    packed = b"".join([_deflated(head), _deflated(block) * size_mib, _deflated(tail), zlib.compress(b"", wbits=-15)])
    size = len(head) + len(tail) + (size_mib << 20)
    return gzip.compress(b"")[:10] + packed + struct.pack("<II", crc, size & 0xFFFFFFFF)


def _deflated(part: bytes) -> bytes:
    """`part` as deflate blocks that refer to nothing before them, and are not the last ones."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)


class WireServer:
    """`with WireServer(scripts, rule) as server: ... server.base_url ...`; what it was asked is in `asked`."""

    def __init__(self, scripts: Mapping[str, Script], *rules: Rule, latency_s: float = 0.002) -> None:
        self.scripts = scripts
        self.latency_s = latency_s
        self.base_url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._in_flight = 0
        self.begin(*rules)

    def begin(self, *rules: Rule) -> None:
        """Forget everything that was asked, and go by these rules from now on."""
        self.rules = rules
        self.asked: list[Asked] = []
        self.most_in_flight = 0
        self._began_s: float | None = None
        self._times: Counter[str] = Counter()
        self._scripted: Counter[str] = Counter()

    @property
    def times(self) -> dict[str, int]:
        """How often each row was asked for."""
        return dict(self._times)

    @property
    def probes(self) -> list[Asked]:
        """The requests without a row's text."""
        return [asked for asked in self.asked if asked.row is None]

    def of(self, row: str) -> list[Asked]:
        """The requests with this row's text."""
        return [asked for asked in self.asked if asked.row == row]

    def by_row(self) -> dict[str | None, list[Asked]]:
        """All requests by the row's text."""
        found = defaultdict[str | None, list[Asked]](list)
        for asked in self.asked:
            found[asked.row].append(asked)
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._in_flight += 1
        try:
            asked = self._note(json.loads(await request.read()), request.headers.copy())
            reply = self._reply(asked)
            await asyncio.sleep(self.latency_s if reply.after_s is None else reply.after_s)
            return await _sent(request, reply, reply.payload(asked.row or ""))
        finally:
            self._in_flight -= 1

    def _note(self, body: Any, headers: Mapping[str, str]) -> Asked:
        now = time.monotonic()
        self._began_s = now if self._began_s is None else self._began_s
        found = _ROW_TEXT.search(_text(body))
        row = found[0] if found else None
        if row is not None:
            self._times[row] += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        times = self._times[row] if row is not None else 0
        asked = Asked(len(self.asked) + 1, now - self._began_s, row, times, self._in_flight, body, headers)
        self.asked.append(asked)
        return asked

    def _reply(self, asked: Asked) -> Reply:
        for rule in self.rules:
            if (reply := rule(asked)) is not None:
                return reply
        if (wrong := wrong_turns(asked.body)) is not None:
            return Reply(400, {"error": {"message": wrong, "type": "invalid_request_error", "code": None}})
        script = self.scripts.get((asked.row or "").partition("WIRE:")[2])
        if script is not None and asked.row is not None and asked.has(script.shape):
            self._scripted[asked.row] += 1
            if (reply := script.reply(self._scripted[asked.row])) is not None:
                return reply
        return answer(asked)


async def _sent(request: web.Request, reply: Reply, payload: bytes) -> web.StreamResponse:
    """Send it in its manner."""
    headers = {"Content-Type": "application/json", **reply.headers}
    if reply.manner == "whole" or request.transport is None:  # without one the client has gone
        return web.Response(status=reply.status, body=payload, headers=headers)
    if reply.manner == "hanging":
        await asyncio.sleep(3600)
    if reply.manner in ("reset", "closed"):
        if reply.manner == "reset":
            # Closing with unsent data discarded is a TCP reset, not an end of stream.
            sock = request.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
        return web.Response()
    stream = web.StreamResponse(status=reply.status, headers=headers)
    stream.content_length = len(payload)
    await stream.prepare(request)
    if reply.manner == "cut":
        await stream.write(payload[: len(payload) // 2])
        request.transport.close()
        return stream
    step = max(1, -(-len(payload) // _SLOW_STEPS))
    for start in range(0, len(payload), step):
        await stream.write(payload[start : start + step])
        await asyncio.sleep(_SLOW_STEP_S)
    return stream


def answer(asked: Asked) -> Reply:
    """What a good model says: the tool first, where there is one, then `ok: ` and the row, as JSON where it must be."""
    text = f"ok: {asked.row or 'probe'}"
    messages = asked.body["messages"]
    if "Action Input:" in str(messages[0].get("content")) and not asked.has_tools:
        if not any(str(message.get("content")).startswith("Observation:") for message in messages):
            return Reply(body=completion(f'Thought: look\nAction: {TOOL}\nAction Input: {{"word": "{asked.row}"}}'))
        return Reply(body=completion(f"Thought: I know the answer\nFinal Answer: {_formed(text, asked)}"))
    if asked.has_tools and not asked.has_results:
        calls = [tool_call(json.dumps({"word": asked.row or "probe"}), id=f"call_{asked.number}")]
        return Reply(body=completion(None, "tool_calls", tool_calls=calls))
    return Reply(body=completion(_formed(text, asked)))


def _formed(text: str, asked: Asked) -> str:
    """As JSON, where the prompt or the request has a schema."""
    return json.dumps({"title": text}) if asked.has_schema or '"title"' in _text(asked.body) else text


def wrong_turns(body: Mapping[str, Any]) -> str | None:
    """What a strict server has against the conversation: ids of tool calls that are empty, repeated or not answered."""
    seen: set[str] = set()
    waiting: list[str] = []
    for message in body["messages"]:
        if message.get("role") == "tool":
            if message.get("tool_call_id") not in waiting:
                return f"tool_call_id {message.get('tool_call_id')!r} answers no call of the turn before"
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            return f"tool_call_ids did not have response messages: {', '.join(waiting)}"
        for call in message.get("tool_calls") or []:
            number = call.get("id")
            if not isinstance(number, str) or not number or number in seen:
                return f"Duplicate or empty value for tool call id: {number!r}"
            seen.add(number)
            waiting.append(number)
    return f"tool_call_ids did not have response messages: {', '.join(waiting)}" if waiting else None


def _text(body: Mapping[str, Any]) -> str:
    """All that the messages say."""
    said = (message.get("content") for message in body["messages"])
    return "\n".join(
        "\n".join(str(part.get("text") or "") for part in content) if isinstance(content, list) else str(content or "")
        for content in said
    )
