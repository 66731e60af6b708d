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

from crewrun.aio import concurrency
from crewrun.llm.custom.model import (
    Given,
    calling,
    calls_by_itself,
    custom_of,
    described,
    is_custom,
    routed,
    settings_of,
)
from crewrun.llm.foreign_models import fields_of_model
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
        if "fallbacks" in fields:
            fields["fallbacks"] = as_fallbacks(fields["fallbacks"])
        return {name: checked(name, value) for name, value in fields.items()}

    @field_validator("*", mode="wrap")
    @classmethod
    def _look_up_later(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """A reference to a variable stands for a value of any type, which is checked when it is resolved."""
        return value if is_reference(value) and info.field_name not in STRUCTURED else check(value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A subclass may bring a `call` of its own: what a run's code calls by it is a call of the run."""
        super().__init_subclass__(**kwargs)
        for name in ("call", "acall"):
            if name in vars(cls) and not isinstance(vars(cls)[name], staticmethod):  # which has no model
                setattr(cls, name, routed(vars(cls)[name]))

    def __fingerprint__(self) -> dict[str, Any]:
        """What is told of an LLM where definitions are compared: who pays is left out, and what `extra_body` adds is a
        parameter like the others.
        """
        if calls_by_itself(self):
            return described(custom_of(self))
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
        from crewrun.llm.direct import Question, ask, ask_custom  # which knows the gateway, and that knows this class

        if is_custom(self):  # a class with no `acall` of its own
            if calling.get() is self:
                raise NotImplementedError(f"{type(self).__name__}: a BaseLLM has no call but its own")
            more = {"tools": tools, "callbacks": callbacks, "available_functions": available_functions}
            more |= {"from_task": from_task, "from_agent": from_agent, "response_model": response_model}
            return await ask_custom(self, Given((messages,), {n: v for n, v in more.items() if v is not None}))
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


def as_fallbacks(given: Any) -> list["LLM"]:
    """What `fallbacks` accepts, one or several models, as LLMs."""
    return [as_llm(other) for other in (given if isinstance(given, list) else [given])] if given else []


def as_llm(value: Any) -> Any:
    """What an `llm=` field accepts, as an LLM: a name, a mapping, another library's model object, or a list of these,
    whose first is the model and whose others are its fallbacks.

    So is an object of the user's with a `call` of its own, see `custom_model`. Raises ValueError for anything else.
    """
    if value is None or isinstance(value, LLM):
        if value is not None and "fallbacks" not in value.__dict__:
            name = type(value).__name__
            raise ValueError(f"{name}.__init__ does not call super().__init__(model=…), which a model needs")
        return value
    if calls_by_itself(value):
        return _adapted(value)
    if isinstance(value, str):
        return LLM(model=value)
    if isinstance(value, dict):
        return LLM(**value)
    if isinstance(value, list) and value:
        first, *others = [as_llm(one) for one in value]
        if not isinstance(first, LLM) or None in others:
            raise ValueError("a list of llms has a model in each place")
        return first.model_copy(update={"fallbacks": [*first.fallbacks, *others]}) if others else first
    if (fields := fields_of_model(value)) is not None:
        return LLM(**fields)
    raise ValueError(f"an llm is a model name, a mapping with `model`, or an LLM, not {type(value).__name__}")


def as_plain(llm: LLM) -> LLM:
    """A model of the user's own as one that crewrun calls: its name and parameters. Any other stays what it is."""
    if not calls_by_itself(llm):
        return llm
    fields = settings_of(custom_of(llm))
    fields.pop("base_url", None)  # of a server that may speak anything
    others = fields.pop("additional_params", {})
    return LLM(**{"model": type(llm).__name__, **others, **fields})


def _adapted(custom: Any) -> LLM:
    """An object that is no `BaseLLM` and has a `call` of its own, as CrewAI's custom models have it, as an LLM."""
    name = getattr(custom, "model", None) or getattr(custom, "model_name", None)
    llm = LLM(model=name if isinstance(name, str) else type(custom).__name__)
    llm.__dict__["custom"] = custom
    return llm
