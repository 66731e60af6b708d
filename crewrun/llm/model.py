"""`LLM`: a model name and its parameters, as users write them.

What name means which provider and address is in `endpoints.py`.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Fields that are about reaching the model; every other one goes into the request as it is.
_NOT_ON_THE_WIRE = frozenset(
    {"model", "base_url", "api_key", "timeout", "extra_headers", "function_calling", "structured_output"}
)


class LLM(BaseModel):
    """A model and its parameters. Parameters that are not listed here are sent to the provider as they are.

    `model` is a name as litellm and CrewAI write it: `gpt-4.1-mini`, `anthropic/claude-…`, `ollama/llama3.2`,
    `offline`. `api_key` may be a reference to an environment variable, `${GROQ_API_KEY}`. `timeout` is in seconds, for
    one attempt of one call. `function_calling` and `structured_output` say whether the model takes tools and a reply
    schema by itself, where litellm's table does not know it or is wrong; without, crewrun asks for both in words.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    model: str = Field(min_length=1)
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

    # One LLM object is one definition: the gateway remembers what it resolved to by identity.
    __hash__ = object.__hash__

    def __init__(self, model: str | None = None, **fields: Any) -> None:
        super().__init__(**({"model": model} if model is not None else {}), **fields)

    def __eq__(self, other: object) -> bool:
        return self is other

    @model_validator(mode="before")
    @classmethod
    def _accept_api_base(cls, fields: Any) -> Any:
        """litellm and CrewAI also spell base_url `api_base`."""
        if isinstance(fields, dict) and "api_base" in fields:
            fields = dict(fields)
            fields.setdefault("base_url", fields.pop("api_base"))
        return fields

    @property
    def params(self) -> dict[str, Any]:
        """The request fields that were set."""
        return {k: v for k, v in self if v is not None and k not in _NOT_ON_THE_WIRE}


def as_llm(value: Any) -> Any:
    """What an `llm=` field accepts, as an LLM: a name, a mapping, or another library's model object."""
    if value is None or isinstance(value, LLM):
        return value
    if isinstance(value, str):
        return LLM(model=value)
    if isinstance(value, dict):
        return LLM(**value)
    name = getattr(value, "model", None) or getattr(value, "model_name", None)
    if isinstance(name, str):
        taken = {f: getattr(value, f, None) for f in ("temperature", "max_tokens", "base_url", "api_key", "timeout")}
        return LLM(model=name, **{k: v for k, v in taken.items() if isinstance(v, str | int | float)})
    raise ValueError(f"an llm is a model name, a mapping with `model`, or an LLM, not {type(value).__name__}")
