"""A request's parameters, i.e. everything but its messages: their types, and which ones are sent when.

A parameter that is not listed here is sent to the provider unchanged. Field names and aliases are in `model`;
`endpoints` assembles an endpoint.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from crewrun.llm.variables import is_reference
from crewrun.messages import ChatRequest

Name = Annotated[str, Field(pattern=r"\S")]


# https://platform.openai.com/docs/api-reference/chat/create, and further names of litellm's.
TYPES: Final[Mapping[str, Any]] = {
    "service_tier": Name,
    "verbosity": Name,
    "parallel_tool_calls": bool,
    "tool_choice": Name | dict[str, Any],
    "prompt_cache_key": Name,
    "safety_identifier": Name,
    "logprobs": bool,
    "top_logprobs": Annotated[int, Field(ge=0)],
    "top_k": Annotated[int, Field(ge=0)],
    "thinking": dict[str, Any],
    "extra_body": dict[str, Any],
    "extra_query": dict[str, str | int | float | bool],
    "api_version": Name,
    "organization": Name,
    "project": Name,
    "drop_params": bool,
    "additional_drop_params": list[Name],
}
# Mappings and lists: a variable is a text, so it can be used inside one, but not in place of it.
STRUCTURED: Final = frozenset(
    {
        "thinking",
        "extra_body",
        "extra_query",
        "additional_drop_params",
        "extra_headers",
        "additional_params",
        "fallbacks",
    }
)
# They control turns with tools; OpenAI rejects them in a request without tools.
OF_TOOLS: Final = frozenset({"tool_choice", "parallel_tool_calls"})
# Values of `tool_choice` that leave the choice to the model.
_FREE: Final = frozenset({"auto", "none"})
# Set by the run itself in every request.
OURS: Final = frozenset({"messages", "model"})
# Dropped: a batch has no reader for a stream.
STREAMING: Final = frozenset({"stream", "stream_options"})
# Two names for one limit: https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_tokens
OTHER_NAME: Final[Mapping[str, str]] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
FLEX_TIMEOUT_S: Final = 900.0  # https://platform.openai.com/docs/guides/flex-processing


@lru_cache(maxsize=64)
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(TYPES[name])


def checked(name: str, value: Any) -> Any:
    """Validate the value of a parameter. Raises ValueError whose message starts with the parameter's name.

    A reference to a variable is checked after it has been looked up. Parameters that are not listed may have any value.
    """
    if value is None or name not in TYPES or (is_reference(value) and name not in STRUCTURED):
        return value
    try:
        return _adapter(name).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{name}: {first['msg']}") from None


def fields_of(request: ChatRequest) -> dict[str, Any]:
    """The fields of `request` that come from its endpoint's parameters; those for tools only if there are tools.

    A `tool_choice` that forces a call is left out once a tool has been called, or the model could never answer. If the
    endpoint rejects a limit on the answer's tokens, it is sent under its other name, or the cost would be unlimited.
    """
    endpoint = request.endpoint
    fields = dict(endpoint.params)
    if request.tools and endpoint.tool_params:
        fields |= endpoint.tool_params
        if forces(fields.get("tool_choice")) and any(message.role == "tool" for message in request.messages):
            del fields["tool_choice"]
    for name in request.left_out:
        if name in OTHER_NAME and name in fields:
            fields.setdefault(OTHER_NAME[name], fields[name])
    return without(fields, request.left_out) if request.left_out else fields


def forces(choice: object) -> bool:
    """Whether a `tool_choice` forces the model to call a tool."""
    kind = choice.get("type") if isinstance(choice, Mapping) else choice
    return isinstance(kind, str) and kind.lower() not in _FREE


def without(fields: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """`fields` without those in `names`, which may be paths such as `thinking.budget_tokens`."""
    left = dict(fields)
    for name in names:
        head, _, rest = name.partition(".")
        if rest and isinstance(left.get(head), Mapping):
            left[head] = without(left[head], (rest,))
        else:
            left.pop(name, None)
    return left
