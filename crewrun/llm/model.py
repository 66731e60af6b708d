"""`LLM`: a model name and its parameters, as users write them.

What name means which provider and address is in `endpoints.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from crewrun import concurrency
from crewrun.llm.parameters import STREAMING, STRUCTURED, checked
from crewrun.llm.sync import run_sync
from crewrun.llm.variables import is_reference

# Fields that are about reaching the model; every other one goes into the request as it is.
_NOT_ON_THE_WIRE = frozenset(
    {"model", "provider", "base_url", "api_key", "timeout", "extra_headers", "fallbacks", "base_model"}
    | {"function_calling", "structured_output", "extra_body", "organization", "project"}
)
# Other names of fields, litellm's and CrewAI's.
_RENAMED = {"api_base": "base_url", "default_headers": "extra_headers", "request_timeout": "timeout"}
# What CrewAI and litellm keep for themselves: retries are the gateway's.
_DROPPED = STREAMING | {
    *("max_retries", "num_retries", "client_params", "callbacks", "is_litellm"),
    *("prefer_upload", "verbose", "cache", "caching", "interceptor", "completion_cost"),
}


class LLM(BaseModel):
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
    refused them. `fallbacks` are models that are asked in turn where this one does not work: its key is refused, it is
    gone, or every attempt of a call failed.
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
        inner = fields.pop("additional_params", None)
        if isinstance(inner, dict):
            fields = {**{k: v for k, v in inner.items() if k not in _DROPPED}, **fields}
        if isinstance(about := fields.pop("model_info", None), dict) and about.get("base_model"):  # as litellm has it
            fields.setdefault("base_model", about["base_model"])
        for other, name in _RENAMED.items():
            if other in fields:
                fields.setdefault(name, fields.pop(other))
                fields.pop(other, None)
        if fields.get("fallbacks"):
            others = fields["fallbacks"]
            fields["fallbacks"] = [as_llm(other) for other in (others if isinstance(others, list) else [others])]
        elif "fallbacks" in fields:
            del fields["fallbacks"]
        return {name: checked(name, value) for name, value in fields.items()}

    @field_validator("*", mode="wrap")
    @classmethod
    def _look_up_later(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """A reference to a variable stands for a value of any type, which is checked when it is resolved."""
        return value if is_reference(value) and info.field_name not in STRUCTURED else check(value)

    def __fingerprint__(self) -> dict[str, Any]:
        """What is told of an LLM where definitions are compared: who pays is left out, and what `extra_body` adds is a
        parameter like the others.
        """
        extra = {k: v for k, v in (self.model_extra or {}).items() if k not in ("organization", "project")}
        body = extra.pop("extra_body", None) or {}
        added = {name: value for name, value in body.items() if name not in {*type(self).model_fields, *_DROPPED}}
        rest = {name: value for name, value in body.items() if name not in added}
        return {**self.__dict__, **added, **extra, **added, **({"extra_body": rest} if rest else {})}

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

    async def acall(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        callbacks: object = None,
        available_functions: Mapping[str, Callable[..., Any]] | None = None,
        from_task: object = None,
        from_agent: object = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        """Ask the model directly, without an agent: a text, or messages with `role` and `content`; the reply's text.

        They are messages as OpenAI's chat completions have them: content may be a list of parts, and an image's
        `url` an address, a data URI or a path in the crew's folder. `files` of a message, by name, follow its content.

        With a pydantic class as `response_model`, or as the LLM's own `response_format`, it is an instance of that; a
        reply that does not validate is sent back once. With `tools`, as OpenAI's chat completions have them, and a
        reply that asks for one, it is what the tool's function in `available_functions` gives, as text. CrewAI's other
        arguments have no effect.

        Inside a run it is a call of the row like those of its agents. Raises CallError, OutputInvalid for a reply that
        is empty or does not validate, what a tool raises, and TypeError for arguments that do not fit.
        """
        from crewrun.llm.conversation import may_read_files
        from crewrun.llm.direct import Question, ask  # which knows the gateway, and that knows this class

        given = (messages, tools, available_functions, response_model or self.reply_model)
        question = await concurrency.call(Question.of, *given) if may_read_files(messages) else Question.of(*given)
        return await ask(self, question)

    def call(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        callbacks: object = None,
        available_functions: Mapping[str, Callable[..., Any]] | None = None,
        from_task: object = None,
        from_agent: object = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        """`acall` for sync code. A running event loop is blocked meanwhile, with a warning."""
        given = (messages, tools, callbacks, available_functions, from_task, from_agent, response_model)
        return run_sync("call", "acall", self.acall, *given)


def as_llm(value: Any) -> Any:
    """What an `llm=` field accepts, as an LLM: a name, a mapping, another library's model object, or a list of these,
    whose first is the model and whose others are its fallbacks.

    Raises ValueError for anything else, and for a model that brings its own way of being called.
    """
    if _calls_by_itself(value):
        raise ValueError(
            f"crewrun calls models itself, and {type(value).__name__}.call() would never run; put the model behind a "
            'server that speaks OpenAI\'s protocol, LLM(model="…", base_url="http://…/v1"), or name one of a provider '
            "that litellm has; in tests crewrun.testing.scripted gives the replies"
        )
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


def _calls_by_itself(value: Any) -> bool:
    """Whether `value` has a `call` of the user's own: CrewAI's way to bring a model. CrewAI's own models are names."""
    if isinstance(value, str | dict | list | type) or not callable(getattr(value, "call", None)):
        return False
    owners = (kind for kind in type(value).__mro__ if "call" in vars(kind) or "acall" in vars(kind))
    owner = next(owners, type(value))
    return owner is not LLM and owner.__module__.partition(".")[0] != "crewai"
