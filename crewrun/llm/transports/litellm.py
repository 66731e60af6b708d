"""The litellm transport: every provider that does not speak OpenAI's protocol. The only file that imports litellm.

What a refused reply means is said in `http_errors`; here is how to get at that reply through litellm, which maps
errors itself and loses statuses on the way (Anthropic's 529 becomes 500, Gemini's 403 becomes 400).
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

# The gateway ends a call by cancelling it. litellm always has a limit too, 600 s by default: this one is never met. It
# does not follow `Endpoint.timeout_s`, because litellm keeps one connection pool for each value.
_NEVER_S = 86_400.0
_ADDRESSES = ("http://", "https://", "gs://", "s3://")


class LitellmTransport:
    """Sends requests through litellm. Needs asyncio: litellm's HTTP clients are aiohttp's."""

    def __init__(self) -> None:
        self._litellm: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Protects the import: without it every row of the first wave would wait for it in a worker thread of its own.
        self._loading = anyio.Lock()

    @tolerant
    async def send(self, request: ChatRequest) -> Completion:
        """One attempt, as `Transport.send` says. The first call imports litellm, which takes seconds."""
        reply = _Reply(_own_account(request.endpoint))
        token = _reply.set(reply)
        try:
            litellm = self._litellm or await self._load()
            response = await litellm.acompletion(**_arguments(request))
            return _read(response, reply)
        except CallError:
            raise
        # A boundary to foreign code, as `Worker.run` is: litellm lets through whatever a provider's code trips over
        # (KeyError, ImportError, botocore's errors ...), and a send raises nothing but a CallError.
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
    """What a provider replied to one call, as it came: litellm maps words and drops errors.

    `own_account` are the headers of an account that the call's llm sets itself.
    """

    own_account: frozenset[str] = frozenset()
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    refused: BodyRefused | None = None

    def parsed(self) -> Any:
        """The body of a 2xx as JSON, None where there is none."""
        if self.status is None or not 200 <= self.status < 300:
            return None
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return parsed[0] if isinstance(parsed, list) and len(parsed) == 1 else parsed


# The reply to the call that this code makes. In anybody else's use of litellm there is none.
_reply: ContextVar[_Reply | None] = ContextVar("crewrun_litellm_reply", default=None)


# Module state, because what it counts is: litellm keeps its HTTP clients in a cache of the process, one set for each
# loop, and the first transport to close would otherwise cut off the calls of the others.
_OPEN: WeakSet[LitellmTransport] = WeakSet()


@tolerant
def load_litellm() -> Any:
    """The litellm module, imported and made quiet: no telemetry, no output, no callbacks, no retries.

    Takes seconds the first time; afterwards it only sets the same values again.
    """
    # Without the first, the import fetches a price list from GitHub; without the second it reads ./.env by itself, and
    # which file of variables a run has is for crewrun to say. Without the third it fetches images, for providers that
    # take no addresses, from wherever a row's text says, and that may be this machine's own network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    os.environ.setdefault("MAX_IMAGE_URL_DOWNLOAD_SIZE_MB", "0")
    import litellm
    from litellm.litellm_core_utils.prompt_templates import image_handling
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    if os.environ["MAX_IMAGE_URL_DOWNLOAD_SIZE_MB"] == "0":  # whoever imported it before has not read that
        image_handling.MAX_IMAGE_URL_DOWNLOAD_SIZE_MB = 0

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.num_retries = 0
    for hooks in ("callbacks", "input_callback", "success_callback", "failure_callback"):
        setattr(litellm, hooks, [])
        setattr(litellm, f"_async_{hooks}", [])
    # Its handler prints to stdout, where the results go; and what it says of a failed call is in the row's error.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        if "LITELLM_LOG" not in os.environ:
            logger.setLevel(logging.CRITICAL)
    # A send that is cancelled while litellm prepares it in its thread leaves the coroutine that the thread made.
    warnings.filterwarnings("ignore", r"coroutine '\w+\.[^']*completion[^']*' was never awaited", RuntimeWarning)
    AsyncHTTPHandler.single_connection_post_request = _no_second_attempt
    _read_within_limits()
    return litellm


def _read_within_limits() -> None:
    """Have litellm's HTTP transport read replies to our calls up to a limit, and show them to `_Reply`.

    httpx would decompress whatever comes, and hold all of it. What other code in the process asks litellm for, streams
    among it, goes its own way.
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


# OpenAI's client, by which litellm calls many others too, adds these from the environment. They are for OpenAI alone.
_ACCOUNT = frozenset({"openai-organization", "openai-project"})
_OPENAI = "api.openai.com"


def _own_account(endpoint: Endpoint) -> frozenset[str]:
    named = {name.lower() for name in endpoint.headers}
    return _ACCOUNT & (named | {"openai-organization"} if "organization" in endpoint.params else named)


# What a body has no more that was read and decompressed.
_OF_THE_TRANSFER = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


async def _no_second_attempt(*_: Any, **__: Any) -> Any:
    """Stands for litellm's own resend after a broken connection, for which it has no switch.

    `AsyncHTTPHandler.post` calls it from `except (RemoteProtocolError, ConnectError)`; the provider may have read, and
    billed, the first one.
    """
    raise sys.exception() or RuntimeError("litellm resends outside of an except clause")


@tolerant
def check_parameters(endpoint: Endpoint) -> None:
    """Raise BadRequest for a parameter of which litellm says that the provider does not take it.

    Nothing is sent. Imports litellm, which takes seconds.
    """
    litellm = load_litellm()
    names = frozenset(litellm.OPENAI_CHAT_COMPLETION_PARAMS) - _OF_THE_ROUTE
    known = deepcopy({name: value for name, value in endpoint.params.items() if name in names})
    drops = {name: endpoint.params[name] for name in _DROPPING & endpoint.params.keys()}
    try:
        litellm.get_optional_params(
            model=endpoint.model, custom_llm_provider=endpoint.provider, **{"drop_params": False, **known, **drops}
        )
    except litellm.UnsupportedParamsError as refused:
        raise BadRequest(_text(refused)) from None
    # A boundary to foreign code: what else a provider's code trips over here, a call will meet and explain.
    except Exception:
        return


_OF_THE_ROUTE = frozenset({"api_version", "organization"})
_DROPPING = frozenset({"drop_params", "additional_drop_params", "allowed_openai_params"})


def _arguments(request: ChatRequest) -> dict[str, Any]:
    """The keywords of `litellm.acompletion`.

    Parameters go as they are: one that the provider does not know is an error that the user sees, not a setting that is
    silently lost. Who wants litellm's way says `drop_params: true` in the LLM. What would make one send several, or no
    plain completion, cannot be set.
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
        # Else it looks for MCP servers among the tools, and imports the mcp package for that, which nobody has to have.
        "_skip_mcp_handler": True,
    }


def _messages(request: ChatRequest) -> Sequence[Message]:
    """The messages. Without tools in the request, earlier calls of tools are told in words.

    Anthropic and others refuse turns with tools in a request that has none, which is how an agent asks for its last
    answer. https://docs.anthropic.com/en/docs/build-with-claude/tool-use
    """
    if request.tools or not any(m.tool_calls for m in request.messages):
        return request.messages
    told: list[Message] = []
    for m in request.messages:
        if m.tool_calls:
            calls = "\n".join(f"I call {call.name} with {call.arguments}" for call in m.tool_calls)
            told.append(_merged(Message("assistant", m.content, parts=m.parts), Message("assistant", calls), "\n"))
        elif m.role == "tool":
            result = _merged(Message("user", "The tool's result:"), m, " ")
            told.append(_merged(told.pop(), result, "\n") if told and told[-1].role == "user" else result)
        elif m.role == "user" and told and told[-1].role == "user":
            told.append(_merged(told.pop(), m, "\n\n"))
        else:
            told.append(m)
    return told


def _merged(first: Message, second: Message, between: str) -> Message:
    """One turn of the first one's role with the content of both."""
    if first.parts or second.parts:
        return Message(first.role, **in_parts((*as_parts(first), *as_parts(second))))
    return Message(first.role, f"{first.content}{between}{second.content}" if first.content else second.content)


def _on_wire(message: Message) -> dict[str, Any]:
    """`message` as litellm takes it: films are files to it, and what has an address has that for its id."""
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
    """The answer in a litellm ModelResponse, which has the shape of an OpenAI completion for every provider."""
    body = reply.parsed()
    usage = _usage(response, body, reply.headers)
    if b'"error"' in reply.body and (failed := embedded_failure(body, reply.headers)) is not None:
        raise with_usage(failed, usage)
    choice = response.choices[0]
    is_openai = isinstance(body, dict) and isinstance(body.get("choices"), list)
    said = read_message(choice.message.model_dump(), _finish_reason(choice, body), has_made_arguments=not is_openai)
    return finished(said, usage, _limits(response))


def _usage(response: Any, body: Any, headers: Mapping[str, str]) -> Usage:
    """The provider's own counts where they are OpenAI's, of which litellm keeps some; else what it makes of them."""
    if isinstance(body, dict) and isinstance(body.get("choices"), list) and isinstance(body.get("usage"), dict):
        return usage_of(body, headers)
    counts = response.usage.model_dump() if getattr(response, "usage", None) else {}
    return read_usage(counts, _tier(response), headers)


def _tier(response: Any) -> Any:
    """The service tier that a reply names: as OpenAI and Bedrock do, or by Gemini's kind of traffic."""
    if named := getattr(response, "service_tier", None):
        return named
    hidden = getattr(response, "_hidden_params", None)
    fields = hidden.get("provider_specific_fields") if isinstance(hidden, dict) else None
    return fields.get("traffic_type") if isinstance(fields, dict) else None


def _finish_reason(choice: Any, body: Any) -> str | None:
    """The provider's own word for how the reply ended. litellm makes one of OpenAI's of each, "stop" of unknown ones;
    that one holds where it says more.
    """
    hidden = getattr(choice, "provider_specific_fields", None)
    own = (hidden.get("native_finish_reason") if isinstance(hidden, Mapping) else None) or _own_word(body)
    mapped: str | None = choice.finish_reason
    if not isinstance(own, str) or (read_end(own) is End.UNKNOWN and read_end(mapped) is not End.DONE):
        return mapped
    return own


def _own_word(body: Any) -> Any:
    """How a reply of Anthropic, Gemini, Bedrock or Cohere says that it ended."""
    if not isinstance(body, dict):
        return None
    first: Any = next((v[0] for v in (body.get("choices"), body.get("candidates")) if isinstance(v, list) and v), {})
    for holder in (first, body):
        for name in ("finish_reason", "finishReason", "stop_reason", "stopReason"):
            if isinstance(holder, dict) and isinstance(word := holder.get(name), str):
                return word
    return None


def _limits(response: Any) -> RateLimits | None:
    """What the provider's headers said; litellm keeps them, some of them under names of its own."""
    hidden = getattr(response, "_hidden_params", None)
    kept = hidden.get("additional_headers") if isinstance(hidden, dict) else None
    if not isinstance(kept, Mapping):
        return None
    return rate_headers.read({str(name).lower().removeprefix("llm_provider-"): str(kept[name]) for name in kept})


def _as_call_error(error: Exception, replied: _Reply) -> CallError:
    """The CallError for anything that came out of litellm."""
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
    # Where nothing was replied, the broken connection is the cause, whatever litellm made of it: it looks for numbers
    # such as 403 in the text, and finds them in ports and addresses of objects.
    broken = next((link for link in chain if _is_named(link, "TransportError")), None)
    if broken is None and replied.status is not None:
        return _unreadable(replied.status, chain)
    said_by = broken or _telling(chain)
    kind = kind_by_class(said_by)
    if kind is None and any(isinstance(link, _MISTAKES) for link in chain):
        kind = BadRequest  # litellm could not make a request of it: the next attempt would end alike
    if kind is None:
        return ServerError(f"litellm failed: {_text(said_by)}")
    return kind(_text(said_by), http_status=replied.status)


# What code trips over that is given something it cannot use.
_MISTAKES = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError)


def _refined(refused: CallError, kind: type[CallError] | None) -> CallError:
    """`refused`, as litellm's class has it where no code, no words and not the status tell.

    It knows more of the providers' wordings for a 400, but finds some in a text that quotes the row's.
    """
    if type(refused) is not BadRequest or refused.is_coded or kind is None or kind.retryable:
        return refused
    return recast(refused, kind)


def _unreadable(status: int, chain: list[Any]) -> CallError:
    """The error for a reply with a good status that litellm could not read: it is that call's failure alone."""
    # Gemini's parser, for one, calls what it trips over a BadRequestError.
    telling = _telling([link for link in chain if kind_by_class(link) is not BadRequest] or chain[-1:])
    kind = kind_by_class(telling)
    if kind is None or kind is BadRequest:
        return ServerError(f"litellm failed: {_text(telling)}", http_status=status)
    return kind(_text(telling), http_status=status)


def _chain(error: BaseException | None) -> Iterator[Any]:
    """`error` and what it was raised from, outermost first.

    It ends at a CallError: that is an earlier attempt, whose handler this attempt was made in.
    """
    while error is not None and not isinstance(error, CallError):
        yield error
        error = error.__cause__ or error.__context__


def _telling(chain: list[Any]) -> Any:
    """The outermost error whose class says something, more than that the request is bad if there is one; else what
    litellm put its wrapper around.
    """
    kinds = [(link, kind) for link in chain if (kind := kind_by_class(link))]
    known = next((link for link, kind in kinds if kind is not BadRequest), kinds[0][0] if kinds else None)
    return known or chain[min(1, len(chain) - 1)]


def _is_named(error: object, name: str) -> bool:
    return any(c.__name__ == name for c in type(error).__mro__)


# What to take out of a message: "litellm.AuthenticationError: AnthropicException - " in front, an object's address, and
# advice to program litellm, in whose place comes ours.
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
    """The class and the first line of what `error` says, without litellm's prefixes, tracebacks and pleas."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    for noise, instead in _NOISE:
        text = noise.sub(instead, text)
    if isinstance(error, ImportError):
        text += "; litellm needs it for this provider, so install it"
    return f"{type(error).__name__}: {redact(text)[:500]}"


async def _close_clients(litellm: Any) -> None:
    """Close and forget the HTTP clients of the running loop.

    litellm's `close_litellm_async_clients` is not used: it also closes those of other loops, which may be at work in
    other threads, and leaves closed OpenAI clients in the cache, where a later loop at the same address finds them.
    """
    cache = litellm.in_memory_llm_clients_cache
    # How a key names its loop is for litellm to say: once by its id, by a number of its own later.
    of_this_loop = cache.update_cache_key_with_event_loop("")
    mine = [key for key in cache.cache_dict if str(key).endswith(of_this_loop)]
    clients = [cache.cache_dict.pop(key) for key in mine]
    # Not by attribute: that would create it.
    clients.append(vars(litellm).get("module_level_aclient"))
    for client in clients:
        close = getattr(client, "close", None)
        if callable(close) and inspect.isawaitable(closing := close()):
            await closing
