"""The HTTP reply to a call, as the provider sent it, where litellm passes on only part of it.

litellm maps errors by itself and loses statuses on the way (Anthropic's 529 becomes 500, Gemini's 403 becomes 400); it
also reads bodies of any size. So its HTTP transport is wrapped: replies to crewrun's calls are read up to a limit and
kept in a `WireReply`. Other code in the process that uses litellm is not affected.
"""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from crewrun.llm.transports.bodies import ENCODINGS, BodyRefused, read_body, refuse_too_many_values
from crewrun.llm.usage.whole_counts import with_whole_counts
from crewrun.messages import Endpoint

# OpenAI's client, which litellm uses for many other providers too, adds these from the environment. They are meant for
# OpenAI alone.
_ACCOUNT_HEADERS = frozenset({"openai-organization", "openai-project"})
_OPENAI_HOST = "api.openai.com"
# Headers that no longer hold for a body that was read and decompressed.
_TRANSFER_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


@dataclass(slots=True)
class WireReply:
    """The provider's reply to one call. `own_account` are the account headers that the call's LLM sets itself.

    Without sending anything, `is_draft` has the request's body put into `request`, and `stored` is the body of a reply
    that came another way, as those of batch jobs do.
    """

    own_account: frozenset[str] = frozenset()
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    refused: BodyRefused | None = None
    is_draft: bool = False
    request: bytes | None = None
    stored: bytes | None = None

    def parsed(self) -> Any:
        """The body of a 2xx as JSON, else None."""
        if self.status is None or not 200 <= self.status < 300:
            return None
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return parsed[0] if isinstance(parsed, list) and len(parsed) == 1 else parsed


# The reply to the call that this code makes; None in any other use of litellm.
current_reply: ContextVar[WireReply | None] = ContextVar("crewrun_litellm_reply", default=None)


def own_account(endpoint: Endpoint) -> frozenset[str]:
    """The account headers that the LLM of `endpoint` sets, by `extra_headers` or `organization`."""
    named = {name.lower() for name in endpoint.headers}
    return _ACCOUNT_HEADERS & (named | {"openai-organization"} if "organization" in endpoint.params else named)


def keep_replies(transport: Any) -> None:
    """Make `transport`, litellm's HTTP transport class, keep the replies to crewrun's calls in `current_reply`.

    They are read up to a limit: httpx would decompress and hold a body of any size.
    """
    from httpx import ConnectError, Response

    send = transport.handle_async_request
    if hasattr(send, "__wrapped__"):
        return

    @wraps(send)
    async def handle_async_request(self: Any, request: Any) -> Any:
        reply = current_reply.get()
        if reply is None:
            return await send(self, request)
        # Some models' encoders fetch images, or ask for cached contents, before they post.
        is_call = request.method == "POST" and not request.url.path.endswith("/cachedContents")
        if reply.is_draft and is_call:
            reply.request = request.content
            raise ConnectError("nothing is sent", request=request)
        if reply.stored is not None and is_call:
            reply.status, reply.body = 200, reply.stored
            json_type = {"content-type": "application/json"}
            return Response(200, headers=json_type, content=with_whole_counts(reply.stored), request=request)
        request.headers["accept-encoding"] = ENCODINGS
        if request.url.host != _OPENAI_HOST:
            for name in _ACCOUNT_HEADERS - reply.own_account:
                request.headers.pop(name, None)
        response = await send(self, request)
        reply.status, reply.headers = response.status_code, response.headers
        try:
            encoding = response.headers.get("content-encoding", "")
            reply.body = await read_body(response.stream, encoding, response.status_code)
            refuse_too_many_values(reply.body)
        except BodyRefused as refused:
            reply.refused = refused
            raise
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _TRANSFER_HEADERS]
        content = with_whole_counts(reply.body) if response.status_code < 300 else reply.body
        return Response(response.status_code, headers=headers, content=content, request=request)

    transport.handle_async_request = handle_async_request
