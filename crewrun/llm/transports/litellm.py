"""The litellm transport, for every provider that does not speak OpenAI's protocol. The only file that imports litellm.

`http_errors` interprets a refused reply; this file gets at the original reply, since litellm maps errors itself and
changes statuses in doing so (Anthropic's 529 becomes 500, Gemini's 403 becomes 400).
"""

import asyncio
import inspect
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass, field
from functools import wraps
from typing import Any
from weakref import WeakSet

import anyio
import anyio.to_thread

from crewrun.errors import (
    BadRequest,
    CallError,
    ServerError,
    recast,
)
from crewrun.library_warnings import tolerant
from crewrun.limits import rate_headers
from crewrun.llm.parameters import fields_of, without
from crewrun.llm.replies.finish_reasons import End, read_end
from crewrun.llm.transports.bodies import ENCODINGS, BodyRefused, read_body, refuse_too_many_values
from crewrun.llm.transports.chat_json import (
    finished,
    message_on_wire,
    read_message,
    schema_on_wire,
    tool_on_wire,
    with_usage,
)
from crewrun.llm.transports.embedded_errors import embedded_failure
from crewrun.llm.transports.error_classes import kind_by_class
from crewrun.llm.transports.http_errors import failure
from crewrun.llm.usage.counts import read_usage, usage_of
from crewrun.llm.usage.whole_counts import with_whole_counts
from crewrun.messages import ChatRequest, Completion, Endpoint, Message, RateLimits, Usage, as_parts, in_parts
from crewrun.redaction.redactor import redact

# The gateway ends a call by cancelling it. litellm always applies a timeout of its own, by default 600 s; this one is
# never reached. It is not `Endpoint.timeout_s`, because litellm keeps a connection pool per value.
_NEVER_S = 86_400.0
_ADDRESSES = ("http://", "https://", "gs://", "s3://")


class LitellmTransport:
    """Sends requests through litellm. Needs asyncio: litellm's HTTP clients are aiohttp's."""

    def __init__(self) -> None:
        self._litellm: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Protects the import: otherwise each of the first rows would wait for it in a worker thread of its own.
        self._loading = anyio.Lock()

    @tolerant
    async def send(self, request: ChatRequest) -> Completion:
        """One attempt; see `Transport.send`. The first call imports litellm, which takes seconds."""
        reply = _Reply(_own_account(request.endpoint))
        token = _reply.set(reply)
        try:
            litellm = self._litellm or await self._load()
            response = await litellm.acompletion(**_arguments(request))
            return _read(response, reply)
        except CallError:
            raise
        # A boundary to foreign code, like `Worker.run`: litellm lets through any error of a provider's code (KeyError,
        # ImportError, botocore's errors ...), and `send` may only raise a CallError.
        except Exception as error:
            raise _as_call_error(error, reply) from error
        finally:
            _reply.reset(token)

    @tolerant
    async def aclose(self) -> None:
        """Close this event loop's connections, unless another LitellmTransport on the loop still uses them."""
        if self._litellm is None:
            return
        litellm, self._litellm = self._litellm, None
        _OPEN.discard(self)
        loop = asyncio.get_running_loop()
        if not any(other._loop is loop for other in _OPEN):
            await _close_clients(litellm)

    async def _load(self) -> Any:
        async with self._loading:
            if self._litellm is None:
                self._litellm = await anyio.to_thread.run_sync(load_litellm, abandon_on_cancel=True)
                self._loop = asyncio.get_running_loop()
                _OPEN.add(self)
        return self._litellm


@dataclass(slots=True)
class _Reply:
    """A provider's original reply to one call, since litellm translates values and drops errors.

    `own_account` are the account headers that the call's llm sets itself.
    """

    own_account: frozenset[str] = frozenset()
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    refused: BodyRefused | None = None

    def parsed(self) -> Any:
        """The body of a 2xx as JSON, else None."""
        if self.status is None or not 200 <= self.status < 300:
            return None
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return parsed[0] if isinstance(parsed, list) and len(parsed) == 1 else parsed


# The reply to the call being made by this transport; None if other code in the process uses litellm.
_reply: ContextVar[_Reply | None] = ContextVar("crewrun_litellm_reply", default=None)


# Module state, because litellm's is: it keeps its HTTP clients in a process-wide cache, one set per loop, and the first
# transport to close would otherwise break the calls of the others.
_OPEN: WeakSet[LitellmTransport] = WeakSet()


@tolerant
def load_litellm() -> Any:
    """Import litellm and silence it: no telemetry, no output, no callbacks, no retries.

    Takes seconds the first time; later calls only set the same values again.
    """
    # Without the first variable, the import fetches a price list from GitHub; without the second it reads ./.env, which
    # crewrun decides on. Without the third it downloads images, for providers that do not accept URLs, from any URL in
    # a row's text, which may point into this machine's own network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    os.environ.setdefault("MAX_IMAGE_URL_DOWNLOAD_SIZE_MB", "0")
    import litellm
    from litellm.litellm_core_utils.prompt_templates import image_handling
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    if os.environ["MAX_IMAGE_URL_DOWNLOAD_SIZE_MB"] == "0":  # if it was imported before the variable was set
        image_handling.MAX_IMAGE_URL_DOWNLOAD_SIZE_MB = 0

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.num_retries = 0
    for hooks in ("callbacks", "input_callback", "success_callback", "failure_callback"):
        setattr(litellm, hooks, [])
        setattr(litellm, f"_async_{hooks}", [])
    # Its handler prints to stdout, where the results go, and what it says about a failed call is in the row's error.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        if "LITELLM_LOG" not in os.environ:
            logger.setLevel(logging.CRITICAL)
    # Cancelling a send while litellm prepares it in a thread leaves behind a coroutine that was never awaited.
    warnings.filterwarnings("ignore", r"coroutine '\w+\.[^']*completion[^']*' was never awaited", RuntimeWarning)
    AsyncHTTPHandler.single_connection_post_request = _no_second_attempt
    _read_within_limits()
    return litellm


def _read_within_limits() -> None:
    """Patch litellm's HTTP transport to read replies to our calls up to a limit, and to record them in `_Reply`.

    httpx would decompress and hold a body of any size. Calls by other code in the process, which may stream, are not
    affected.
    """
    from httpx import Response
    from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport

    send = LiteLLMAiohttpTransport.handle_async_request
    if hasattr(send, "__wrapped__"):
        return

    @wraps(send)
    async def handle_async_request(self: Any, request: Any) -> Any:
        reply = _reply.get()
        if reply is None:
            return await send(self, request)
        request.headers["accept-encoding"] = ENCODINGS
        if request.url.host != _OPENAI:
            for name in _ACCOUNT - reply.own_account:
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
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_TRANSFER]
        content = with_whole_counts(reply.body) if response.status_code < 300 else reply.body
        return Response(response.status_code, headers=headers, content=content, request=request)

    LiteLLMAiohttpTransport.handle_async_request = handle_async_request


# OpenAI's client, which litellm uses for many other providers too, adds these headers from the environment. They are
# meant for OpenAI only.
_ACCOUNT = frozenset({"openai-organization", "openai-project"})
_OPENAI = "api.openai.com"


def _own_account(endpoint: Endpoint) -> frozenset[str]:
    named = {name.lower() for name in endpoint.headers}
    return _ACCOUNT & (named | {"openai-organization"} if "organization" in endpoint.params else named)


# Headers that no longer apply once a body has been read and decompressed.
_OF_THE_TRANSFER = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


async def _no_second_attempt(*_: Any, **__: Any) -> Any:
    """Replaces litellm's resend after a broken connection, which cannot be switched off.

    `AsyncHTTPHandler.post` calls it from `except (RemoteProtocolError, ConnectError)`; the provider may have received,
    and billed, the first request.
    """
    raise sys.exception() or RuntimeError("litellm resends outside of an except clause")


@tolerant
def check_parameters(endpoint: Endpoint) -> None:
    """Raise BadRequest for a parameter that the provider does not support according to litellm.

    Nothing is sent. Imports litellm, which takes seconds.
    """
    litellm = load_litellm()
    names = frozenset(litellm.OPENAI_CHAT_COMPLETION_PARAMS) - _OF_THE_ROUTE
    params = deepcopy({name: value for name, value in endpoint.params.items() if name in names})
    drops = {name: endpoint.params[name] for name in _DROPPING & endpoint.params.keys()}
    try:
        litellm.get_optional_params(
            model=endpoint.model, custom_llm_provider=endpoint.provider, **{"drop_params": False, **params, **drops}
        )
    except litellm.UnsupportedParamsError as refused:
        raise BadRequest(_text(refused)) from None
    # A boundary to foreign code: any other error of a provider's code here will occur in a call too, and be explained.
    except Exception:
        return


_OF_THE_ROUTE = frozenset({"api_version", "organization"})
_DROPPING = frozenset({"drop_params", "additional_drop_params", "allowed_openai_params"})


def _arguments(request: ChatRequest) -> dict[str, Any]:
    """The keyword arguments for `litellm.acompletion`.

    Parameters are passed unchanged: one that the provider does not support is an error that the user sees, not a
    setting that silently disappears; `drop_params: true` in the LLM changes that. Parameters that would turn one send
    into several, or into anything but a plain completion, cannot be set.
    """
    endpoint = request.endpoint
    optional = {"api_base": endpoint.base_url, "api_key": endpoint.api_key}
    return {
        "drop_params": False,
        **fields_of(request),
        **({"extra_body": without(endpoint.extra_body, request.left_out)} if endpoint.extra_body else {}),
        **{name: value for name, value in optional.items() if value is not None},
        **({"extra_headers": dict(endpoint.headers)} if endpoint.headers else {}),
        "model": f"{endpoint.provider}/{endpoint.model}",
        "messages": [_on_wire(m) for m in _messages(request)],
        **({"tools": [tool_on_wire(spec) for spec in request.tools]} if request.tools else {}),
        **({"response_format": schema_on_wire(request.schema)} if request.schema else {}),
        "stream": False,
        "timeout": _NEVER_S,
        "num_retries": 0,
        "max_retries": 0,
        "fallbacks": None,
        "context_window_fallback_dict": None,
        "retry_policy": None,
        # Otherwise it looks for MCP servers among the tools, and imports the mcp package, which need not be installed.
        "_skip_mcp_handler": True,
    }


def _messages(request: ChatRequest) -> Sequence[Message]:
    """The messages. If the request has no tools, earlier tool calls are rewritten as text.

    An agent asks for its final answer without tools, and Anthropic and others reject turns with tool calls in such a
    request. https://docs.anthropic.com/en/docs/build-with-claude/tool-use
    """
    if request.tools or not any(m.tool_calls for m in request.messages):
        return request.messages
    turns: list[Message] = []
    for m in request.messages:
        if m.tool_calls:
            calls = "\n".join(f"I call {call.name} with {call.arguments}" for call in m.tool_calls)
            turns.append(_merged(Message("assistant", m.content, parts=m.parts), Message("assistant", calls), "\n"))
        elif m.role == "tool":
            result = _merged(Message("user", "The tool's result:"), m, " ")
            turns.append(_merged(turns.pop(), result, "\n") if turns and turns[-1].role == "user" else result)
        elif m.role == "user" and turns and turns[-1].role == "user":
            turns.append(_merged(turns.pop(), m, "\n\n"))
        else:
            turns.append(m)
    return turns


def _merged(first: Message, second: Message, between: str) -> Message:
    """One turn with the role of the first and the content of both."""
    if first.parts or second.parts:
        return Message(first.role, **in_parts((*as_parts(first), *as_parts(second))))
    return Message(first.role, f"{first.content}{between}{second.content}" if first.content else second.content)


def _on_wire(message: Message) -> dict[str, Any]:
    """`message` in litellm's format: a video is a file there, and a URL goes into the file's id."""
    turn = message_on_wire(message)
    if message.parts:
        turn["content"] = [_part_on_wire(part.wire) for part in message.parts]
    return turn


def _part_on_wire(wire: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = wire.get(str(wire.get("type")))
    if not isinstance(inner, Mapping):
        return wire
    fields = dict(inner)
    if wire["type"] == "video_url":
        fields["file_data"] = fields.pop("url", None)
    elif wire["type"] != "file":
        return wire
    data = fields.get("file_data")
    if isinstance(data, str) and data.startswith(_ADDRESSES):
        fields["file_id"] = fields.pop("file_data")
    return {**{key: value for key, value in wire.items() if key != wire["type"]}, "type": "file", "file": fields}


def _read(response: Any, reply: _Reply) -> Completion:
    """The answer in a litellm ModelResponse, which has the format of an OpenAI completion for every provider."""
    body = reply.parsed()
    usage = _usage(response, body, reply.headers)
    if b'"error"' in reply.body and (failed := embedded_failure(body, reply.headers)) is not None:
        raise with_usage(failed, usage)
    choice = response.choices[0]
    is_openai = isinstance(body, dict) and isinstance(body.get("choices"), list)
    raw = read_message(choice.message.model_dump(), _finish_reason(choice, body), has_made_arguments=not is_openai)
    return finished(raw, usage, _limits(response))


def _usage(response: Any, body: Any, headers: Mapping[str, str]) -> Usage:
    """The provider's own counts if they are in OpenAI's format, since litellm drops some of them; else litellm's."""
    if isinstance(body, dict) and isinstance(body.get("choices"), list) and isinstance(body.get("usage"), dict):
        return usage_of(body, headers)
    counts = response.usage.model_dump() if getattr(response, "usage", None) else {}
    return read_usage(counts, _tier(response), headers)


def _tier(response: Any) -> Any:
    """The service tier that a reply names, as OpenAI and Bedrock do, or Gemini's traffic type."""
    if named := getattr(response, "service_tier", None):
        return named
    hidden = getattr(response, "_hidden_params", None)
    fields = hidden.get("provider_specific_fields") if isinstance(hidden, dict) else None
    return fields.get("traffic_type") if isinstance(fields, dict) else None


def _finish_reason(choice: Any, body: Any) -> str | None:
    """The provider's own finish reason. litellm maps each to one of OpenAI's, and unknown ones to "stop"; its value is
    used only if it says more.
    """
    hidden = getattr(choice, "provider_specific_fields", None)
    own = (hidden.get("native_finish_reason") if isinstance(hidden, Mapping) else None) or _own_word(body)
    mapped: str | None = choice.finish_reason
    if not isinstance(own, str) or (read_end(own) is End.UNKNOWN and read_end(mapped) is not End.DONE):
        return mapped
    return own


def _own_word(body: Any) -> Any:
    """The finish reason in an original reply of Anthropic, Gemini, Bedrock or Cohere."""
    if not isinstance(body, dict):
        return None
    first: Any = next((v[0] for v in (body.get("choices"), body.get("candidates")) if isinstance(v, list) and v), {})
    for holder in (first, body):
        for name in ("finish_reason", "finishReason", "stop_reason", "stopReason"):
            if isinstance(holder, dict) and isinstance(word := holder.get(name), str):
                return word
    return None


def _limits(response: Any) -> RateLimits | None:
    """The rate limits from the provider's headers, some of which litellm has under names of its own."""
    hidden = getattr(response, "_hidden_params", None)
    headers = hidden.get("additional_headers") if isinstance(hidden, dict) else None
    if not isinstance(headers, Mapping):
        return None
    return rate_headers.read({str(name).lower().removeprefix("llm_provider-"): str(headers[name]) for name in headers})


def _as_call_error(error: Exception, replied: _Reply) -> CallError:
    """The CallError for any exception from litellm."""
    if replied.refused is not None:
        return ServerError(str(replied.refused), http_status=replied.status)
    body = replied.parsed()
    if (embedded := embedded_failure(body, replied.headers)) is not None:
        return with_usage(embedded, usage_of(body, replied.headers))
    chain = list(_chain(error))
    refused = next((link.response for link in chain if _is_named(link, "HTTPStatusError")), None)
    if replied.status is not None and replied.status >= 400:
        return _refined(failure(replied.status, replied.body, replied.headers), kind_by_class(_telling(chain)))
    if refused is not None:
        return _refined(failure(refused.status_code, refused.content, refused.headers), kind_by_class(_telling(chain)))
    # If there was no reply, the broken connection is the cause, whatever litellm made of it: it searches the text for
    # numbers such as 403, and finds them in ports and in the addresses of objects.
    broken = next((link for link in chain if _is_named(link, "TransportError")), None)
    if broken is None and replied.status is not None:
        return _unreadable(replied.status, chain)
    source = broken or _telling(chain)
    kind = kind_by_class(source)
    if kind is None and any(isinstance(link, _MISTAKES) for link in chain):
        kind = BadRequest  # litellm could not build a request, and a retry would end the same way
    if kind is None:
        return ServerError(f"litellm failed: {_text(source)}")
    return kind(_text(source), http_status=replied.status)


# Errors of code that was passed something it cannot handle.
_MISTAKES = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError)


def _refined(refused: CallError, kind: type[CallError] | None) -> CallError:
    """`refused`, recast to litellm's class if no code, message or status of the reply was specific.

    litellm knows more of the providers' messages for a 400, but also finds them in texts that quote a row.
    """
    if type(refused) is not BadRequest or refused.is_coded or kind is None or kind.retryable:
        return refused
    return recast(refused, kind)


def _unreadable(status: int, chain: list[Any]) -> CallError:
    """The error for a successful reply that litellm could not read, which concerns that call only."""
    # Gemini's parser, for one, raises BadRequestError for anything that it cannot parse.
    telling = _telling([link for link in chain if kind_by_class(link) is not BadRequest] or chain[-1:])
    kind = kind_by_class(telling)
    if kind is None or kind is BadRequest:
        return ServerError(f"litellm failed: {_text(telling)}", http_status=status)
    return kind(_text(telling), http_status=status)


def _chain(error: BaseException | None) -> Iterator[Any]:
    """`error` and the exceptions that it was raised from, outermost first.

    The chain ends at a CallError, which is an earlier attempt: this one was made while that was being handled.
    """
    while error is not None and not isinstance(error, CallError):
        yield error
        error = error.__cause__ or error.__context__


def _telling(chain: list[Any]) -> Any:
    """The outermost error with a telling class, preferably one more specific than BadRequest; else the error that
    litellm wrapped.
    """
    kinds = [(link, kind) for link in chain if (kind := kind_by_class(link))]
    link = next((link for link, kind in kinds if kind is not BadRequest), kinds[0][0] if kinds else None)
    return link or chain[min(1, len(chain) - 1)]


def _is_named(error: object, name: str) -> bool:
    return any(c.__name__ == name for c in type(error).__mro__)


# What to remove from a message: the prefix "litellm.AuthenticationError: AnthropicException - ", addresses of objects,
# and advice for programs that call litellm, which is replaced by ours.
_NOISE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)(?: \w+)?(?::| -) +)+"), ""),
    (re.compile(r" ssl:<[^>]*>| Traceback \(most recent call last\):"), ""),
    (
        re.compile(r"To drop (?:these|unsupported params), set .*"),
        "Remove them, or say drop_params: true in the llm; what the provider has all the same may stand in extra_body",
    ),
    (re.compile(r" File an issue if .*"), ""),
    (
        re.compile(r"(?:Error: )?Image URL download is disabled \([^)]*\)\."),
        "this provider takes no addresses of images and files, and crewrun fetches none; name a local file.",
    ),
)


def _text(error: BaseException) -> str:
    """The class of `error` and the first line of its message, without litellm's prefixes, tracebacks and appeals."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    for noise, instead in _NOISE:
        text = noise.sub(instead, text)
    if isinstance(error, ImportError):
        text += "; litellm needs it for this provider, so install it"
    return f"{type(error).__name__}: {redact(text)[:500]}"


async def _close_clients(litellm: Any) -> None:
    """Close and forget the HTTP clients of the running loop.

    litellm's `close_litellm_async_clients` is not used: it also closes those of other loops, which may be running in
    other threads, and leaves closed OpenAI clients in the cache, where a later loop with the same id finds them.
    """
    cache = litellm.in_memory_llm_clients_cache
    # litellm decides how a key names its loop: earlier versions use the loop's id, later ones their own number.
    of_this_loop = cache.update_cache_key_with_event_loop("")
    mine = [key for key in cache.cache_dict if str(key).endswith(of_this_loop)]
    clients = [cache.cache_dict.pop(key) for key in mine]
    # Not by attribute: that would create it.
    clients.append(vars(litellm).get("module_level_aclient"))
    for client in clients:
        close = getattr(client, "close", None)
        if callable(close) and inspect.isawaitable(closing := close()):
            await closing
