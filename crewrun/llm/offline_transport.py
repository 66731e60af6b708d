"""The rehearsal model `offline`: embedded, deterministic, free, and visibly no model.

`offline?latency=0.2&jitter=0.1&fail=0.05` shapes it: seconds per call, seconds of spread, share of calls that fail. The
same request always gets the same answer, wait and failure, so a rehearsal can be repeated.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar
from urllib.parse import parse_qsl

import anyio
import anyio.lowlevel

from crewrun.errors import BadRequest, UsageError, suggest
from crewrun.messages import ChatRequest, Completion, Usage

_EXCERPT_CHARS = 160
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class OfflineOptions:
    """What may stand behind `offline?`."""

    latency: float = 0.0
    jitter: float = 0.0
    fail: float = 0.0

    NAMES: ClassVar = ("latency", "jitter", "fail")

    @classmethod
    def parse(cls, query: str) -> "OfflineOptions":
        """The options in `latency=0.2&fail=0.05`. Raises UsageError for an unknown or impossible one."""
        values: dict[str, float] = {}
        for name, text in parse_qsl(query, keep_blank_values=True):
            if name not in cls.NAMES:
                raise UsageError(
                    f"model offline: no option {name!r}{suggest(name, cls.NAMES)}; options are {', '.join(cls.NAMES)}"
                )
            try:
                values[name] = float(text)
            except ValueError:
                raise UsageError(f"model offline: {name}={text!r} is not a number") from None
            if not 0 <= values[name] <= (1 if name == "fail" else 86_400):
                limit = "between 0 and 1" if name == "fail" else "a number of seconds from 0"
                raise UsageError(f"model offline: {name}={text} must be {limit}")
        return cls(**values)


class OfflineTransport:
    """Answers from the request itself."""

    def __init__(self) -> None:
        self._options: dict[str, OfflineOptions] = {}

    async def send(self, request: ChatRequest) -> Completion:
        """Make up an answer; see `Transport.send`."""
        options = self._read_options(request)
        prompt = "\n".join(message.content for message in request.messages)
        digest = blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=12).digest()
        chance, spread = (int.from_bytes(part) / 2**48 for part in (digest[:6], digest[6:]))
        if wait_s := options.latency + options.jitter * spread:
            await anyio.sleep(wait_s)
        else:
            await anyio.lowlevel.checkpoint()
        if chance < options.fail:
            raise BadRequest(f"offline model: this call fails, as fail={options.fail:g} asks for")
        asked = " ".join(request.messages[-1].content.split())
        excerpt = asked if len(asked) <= _EXCERPT_CHARS else asked[:_EXCERPT_CHARS] + "…"
        text = f"[offline {digest.hex()[:8]}: no model was called] {excerpt}"
        return Completion(
            text,
            Usage(
                prompt_tokens=len(prompt) // _CHARS_PER_TOKEN + 1,
                completion_tokens=len(text) // _CHARS_PER_TOKEN + 1,
            ),
        )

    async def aclose(self) -> None:
        """Nothing to close."""

    def _read_options(self, request: ChatRequest) -> OfflineOptions:
        query = request.endpoint.params.get("options", "")
        if query not in self._options:
            self._options[query] = OfflineOptions.parse(query)
        return self._options[query]
