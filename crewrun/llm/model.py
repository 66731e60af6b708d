"""`LLM`: a model name and its parameters, as users write them.

What name means which provider and address is in `endpoints.py`.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Fields that are about reaching the model; every other one goes into the request as it is.
_NOT_ON_THE_WIRE = frozenset(
    {"model", "provider", "base_url", "api_key", "timeout", "extra_headers", "fallbacks"}
    | {"function_calling", "structured_output"}
)
# Other names of fields, litellm's and CrewAI's.
_RENAMED = {"api_base": "base_url", "default_headers": "extra_headers", "request_timeout": "timeout"}
# Mappings whose entries are request fields.
_MERGED = ("additional_params", "extra_body")
# What CrewAI and litellm keep for themselves: retries are the gateway's, and nobody reads a stream in a batch.
_DROPPED = frozenset(
    {"max_retries", "num_retries", "organization", "project", "client_params", "callbacks", "is_litellm"}
    | {"prefer_upload", "verbose", "cache", "caching", "stream", "stream_options", "interceptor", "completion_cost"}
)


class LLM(BaseModel):
    """A model and its parameters. Parameters that are not listed here are sent to the provider as they are.

    `model` is a name as litellm and CrewAI write it: `gpt-4.1-mini`, `anthropic/claude-…`, `ollama/llama3.2`,
    `offline`; with a `provider` it is the name as that provider knows it, whole. `api_key` may be a reference to an
    environment variable, `${GROQ_API_KEY}`. `timeout` is in seconds, for one attempt of one call. `function_calling`
    and `structured_output` say whether the model takes tools and a reply schema by itself, where litellm's table does
    not know it or is wrong; without, crewrun asks for both in words. `fallbacks` are models that are asked in turn
    where this one does not work: its key is refused, it is gone, or every attempt of a call failed.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    provider: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = Field(default=None, gt=0)
    max_completion_tokens: int | None = Field(default=None, gt=0)
    stop: list[str] | str | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning_effort: str | None = None
    base_url: str | None = None
    api_key: str | None = Field(default=None, repr=False)
    timeout: float | None = Field(default=None, gt=0)
    extra_headers: dict[str, str] = Field(default_factory=dict, repr=False)
    function_calling: bool | None = None
    structured_output: bool | None = None
    fallbacks: list["LLM"] = Field(default_factory=list)

    # One LLM object is one definition: the gateway remembers what it resolved to by identity.
    __hash__ = object.__hash__

    def __init__(self, model: str | None = None, **fields: Any) -> None:
        super().__init__(**({"model": model} if model is not None else {}), **fields)

    def __eq__(self, other: object) -> bool:
        return self is other

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, given: Any) -> Any:
        """What CrewAI's LLM takes, and litellm's `completion`, as our fields."""
        if not isinstance(given, dict):
            return given
        fields = {name: value for name, value in given.items() if name not in _DROPPED}
        for merged in _MERGED:
            inner = fields.pop(merged, None)
            if isinstance(inner, dict):
                fields = {**{k: v for k, v in inner.items() if k not in _DROPPED}, **fields}
        for other, name in _RENAMED.items():
            if other in fields:
                fields.setdefault(name, fields.pop(other))
                fields.pop(other, None)
        if fields.get("fallbacks"):
            others = fields["fallbacks"]
            fields["fallbacks"] = [as_llm(other) for other in (others if isinstance(others, list) else [others])]
        elif "fallbacks" in fields:
            del fields["fallbacks"]
        wanted = fields.get("response_format")
        if isinstance(wanted, type) and issubclass(wanted, BaseModel):
            schema = {"name": wanted.__name__, "schema": wanted.model_json_schema()}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        return fields

    @property
    def params(self) -> dict[str, Any]:
        """The request fields that were set."""
        return {k: v for k, v in self if v is not None and k not in _NOT_ON_THE_WIRE}


def as_llm(value: Any) -> Any:
    """What an `llm=` field accepts, as an LLM: a name, a mapping, another library's model object, or a list of these,
    whose first is the model and whose others are its fallbacks.
    """
    if value is None or isinstance(value, LLM):
        return value
    if isinstance(value, str):
        return LLM(model=value)
    if isinstance(value, dict):
        return LLM(**value)
    if isinstance(value, list) and value:
        first, *others = [as_llm(one) for one in value]
        if not isinstance(first, LLM) or None in others:
            raise ValueError("a list of llms has a model in each place")
        return first.model_copy(update={"fallbacks": [*first.fallbacks, *others]}) if others else first
    name = getattr(value, "model", None) or getattr(value, "model_name", None)
    if isinstance(name, str):
        taken = {f: getattr(value, f, None) for f in ("temperature", "max_tokens", "base_url", "api_key", "timeout")}
        return LLM(model=name, **{k: v for k, v in taken.items() if isinstance(v, str | int | float)})
    raise ValueError(f"an llm is a model name, a mapping with `model`, or an LLM, not {type(value).__name__}")
