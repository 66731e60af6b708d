"""`ModelFields`: a model's name and its parameters, as users write them.

`endpoints` finds a name's provider and address. The class that users call is `model.LLM`.
"""

from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from crewrun.llm.parameters import STREAMING, STRUCTURED, checked
from crewrun.llm.variables import is_reference
from crewrun.messages import Tier
from crewrun.notebook.short_repr import quoted, short_repr

# Fields for reaching the model; all others go into the request unchanged.
_NOT_ON_THE_WIRE = frozenset(
    {"model", "provider", "base_url", "api_key", "timeout", "extra_headers", "fallbacks", "base_model"}
    | {"function_calling", "structured_output", "extra_body", "organization", "project", "tier"}
)
# Other names of fields, litellm's and CrewAI's.
_RENAMED = {"api_base": "base_url", "default_headers": "extra_headers", "request_timeout": "timeout"}
# Settings of CrewAI and litellm themselves; the gateway does the retries.
_DROPPED = STREAMING | {
    *("max_retries", "num_retries", "client_params", "callbacks", "is_litellm"),
    *("prefer_upload", "verbose", "cache", "caching", "interceptor", "completion_cost"),
}


class ModelFields(BaseModel):
    """A model and its parameters: these fields, those of `crewrun.llm.parameters`, and any others, which are sent to
    the provider as they are.

    `model` is a name as litellm and CrewAI write it: `gpt-4.1-mini`, `anthropic/claude-…`, `ollama/llama3.2`,
    `offline`; with a `provider` it is the name as that provider knows it, whole. `base_model` is the published model
    behind a name of one's own, such as that of a deployment at Azure: calls cost what that one costs. `api_key` may be
    a reference to an environment variable, `${GROQ_API_KEY}`, and any other value may have one in it. `timeout` is in
    seconds, for one attempt of one call. `extra_body` is put over the request's body as it is. With `drop_params` a
    parameter that the server names as unsupported is left out; `additional_drop_params` are never sent.
    `function_calling` and `structured_output` say whether the model takes tools and a reply schema by itself, where
    litellm's table is wrong; a model that the table does not know is tried with both, and asked in words after it has
    refused them. `tier` is the service tier that calls go at, `standard` or `flex`; a `service_tier` goes to the
    provider as it is, and comes first. `fallbacks` are models that are asked in turn where this one does not work: its
    key is refused, it is gone, or every attempt of a call failed.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    provider: str | None = None
    base_model: str | None = Field(default=None, min_length=1)
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
    tier: Tier | None = None
    fallbacks: list["ModelFields"] = Field(default_factory=list)

    # Where a crew's file has `model` and `base_url`, as `crew.yaml:7`.
    _crewrun_places: dict[str, str] = PrivateAttr(default_factory=dict)

    # One object is one definition: the gateway remembers what it resolved to by identity.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        """The name alone: any other field may be, or have in it, a key."""
        return short_repr(self, quoted(self.__dict__.get("model", "")))

    __str__ = __repr__

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, value: Any) -> Any:
        """The arguments of CrewAI's LLM, or of litellm's `completion`, as our fields."""
        if not isinstance(value, dict):
            return value
        fields = {name: value for name, value in value.items() if name not in _DROPPED}
        inner = fields.pop("additional_params", None)
        if isinstance(inner, dict):
            fields = {**{k: v for k, v in inner.items() if k not in _DROPPED}, **fields}
        if isinstance(about := fields.pop("model_info", None), dict) and about.get("base_model"):  # as litellm has it
            fields.setdefault("base_model", about["base_model"])
        for other, name in _RENAMED.items():
            if other in fields:
                fields.setdefault(name, fields.pop(other))
                fields.pop(other, None)
        if "fallbacks" in fields:
            fields["fallbacks"] = cls._as_fallbacks(fields["fallbacks"])
        return {name: checked(name, value) for name, value in fields.items()}

    @field_validator("*", mode="wrap")
    @classmethod
    def _look_up_later(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """A reference to a variable stands for a value of any type, which is checked when it is resolved."""
        return value if is_reference(value) and info.field_name not in STRUCTURED else check(value)

    @classmethod
    def _as_fallbacks(cls, value: Any) -> Any:
        """What `fallbacks` accepts, as a list of models."""
        several = value if isinstance(value, list) else [value]
        return [{"model": one} if isinstance(one, str) else one for one in several] if value else []

    __has_address__: ClassVar[bool] = True  # tells `fingerprint` that its base_url is the address of a model

    def __fingerprint__(self) -> dict[str, Any]:
        """What counts where definitions are compared: not who pays nor the `tier`, and what `extra_body` adds as a
        parameter like the others.
        """
        extra = {k: v for k, v in (self.model_extra or {}).items() if k not in ("organization", "project")}
        body = extra.pop("extra_body", None) or {}
        added = {name: value for name, value in body.items() if name not in {*type(self).model_fields, *_DROPPED}}
        rest = {name: value for name, value in body.items() if name not in added}
        own = {name: value for name, value in self.__dict__.items() if name != "tier"}
        return {**own, **added, **extra, **added, **({"extra_body": rest} if rest else {})}

    @property
    def params(self) -> dict[str, Any]:
        """The request fields that were set. A class as `response_format` is none of them, see `reply_model`."""
        fields = {k: v for k, v in self if v is not None and k not in _NOT_ON_THE_WIRE}
        if self.reply_model is not None:
            del fields["response_format"]
        return fields

    @property
    def reply_model(self) -> type[BaseModel] | None:
        """The pydantic class that `response_format` is, None where it is a mapping or not set."""
        wanted = (self.model_extra or {}).get("response_format")
        return wanted if isinstance(wanted, type) and issubclass(wanted, BaseModel) else None
