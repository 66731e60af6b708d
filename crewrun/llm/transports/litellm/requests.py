"""A request as the keywords of `litellm.acompletion`."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from crewrun.errors import BadRequest
from crewrun.library_warnings import tolerant
from crewrun.llm.parameters import fields_of, without
from crewrun.llm.transports.cache_hints import add_hints
from crewrun.llm.transports.chat_json import message_on_wire, schema_on_wire, tool_on_wire
from crewrun.llm.transports.litellm.errors import summary
from crewrun.llm.transports.litellm.library import load_litellm
from crewrun.messages import ChatRequest, Endpoint, Message, as_parts, in_parts

# The gateway ends a call by cancelling it. litellm always has a time limit too, 600 s by default; this one, a day, is
# never reached. It is not `Endpoint.timeout_s`, because litellm keeps a connection pool for each value.
_NEVER_S = 86_400.0
_URL_SCHEMES = ("http://", "https://", "gs://", "s3://")
_ROUTE_PARAMS = frozenset({"api_version", "organization"})
_DROP_PARAMS = frozenset({"drop_params", "additional_drop_params", "allowed_openai_params"})


def keywords(request: ChatRequest) -> dict[str, Any]:
    """The keywords of `litellm.acompletion`.

    Parameters go unchanged: one that the provider does not know is an error that the user sees, not a setting that is
    silently lost. `drop_params: true` in the LLM has litellm drop it instead. Settings that would send a request more
    than once, or stream the reply, are fixed.
    """
    endpoint = request.endpoint
    optional = {"api_base": endpoint.base_url, "api_key": endpoint.api_key}
    fields = {
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
        # Otherwise it looks for MCP servers among the tools and imports the mcp package, which may not be installed.
        "_skip_mcp_handler": True,
    }
    if request.cache_hints is not None:
        add_hints(fields, request.cache_hints)
    return fields


@tolerant
def check_parameters(endpoint: Endpoint) -> None:
    """Raise BadRequest for a parameter that the provider does not take, according to litellm.

    Nothing is sent. Imports litellm, which takes seconds.
    """
    litellm = load_litellm()
    names = frozenset(litellm.OPENAI_CHAT_COMPLETION_PARAMS) - _ROUTE_PARAMS
    params = deepcopy({name: value for name, value in endpoint.params.items() if name in names})
    drops = {name: endpoint.params[name] for name in _DROP_PARAMS & endpoint.params.keys()}
    try:
        litellm.get_optional_params(
            model=endpoint.model, custom_llm_provider=endpoint.provider, **{"drop_params": False, **params, **drops}
        )
    except litellm.UnsupportedParamsError as refused:
        raise BadRequest(summary(refused)) from None
    # A boundary to foreign code: any other failure of a provider's code is left for the first call to meet and explain.
    except Exception:
        return


def _messages(request: ChatRequest) -> Sequence[Message]:
    """The messages; in a request without tools, earlier tool calls and their results are written out as text.

    Anthropic and others refuse tool turns in a request that has no tools, and an agent asks for its last answer with
    such a request. https://docs.anthropic.com/en/docs/build-with-claude/tool-use
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
    """One turn with the role of `first` and the content of both."""
    if first.parts or second.parts:
        return Message(first.role, **in_parts((*as_parts(first), *as_parts(second))))
    return Message(first.role, f"{first.content}{between}{second.content}" if first.content else second.content)


def _on_wire(message: Message) -> dict[str, Any]:
    """`message` as litellm takes it: a video is a file there, and a file at a URL has the URL as its `file_id`."""
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
    if isinstance(data, str) and data.startswith(_URL_SCHEMES):
        fields["file_id"] = fields.pop("file_data")
    return {**{key: value for key, value in wire.items() if key != wire["type"]}, "type": "file", "file": fields}
