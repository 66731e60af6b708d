"""`BaseLLM`: CrewAI's base class for a model that the user's own code calls.

A subclass defines `call`, `acall`, or both, and may define `supports_function_calling` and `get_context_window_size`.
`llm.transports.custom` calls it, and `llm.custom.model` makes its endpoint.
"""

from typing import TYPE_CHECKING, Any

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

from crewrun.crew.output import UsageMetrics
from crewrun.llm.custom.usage import Counts, add_usage
from crewrun.llm.model import LLM, as_fallbacks

CONTEXT_WINDOW_TOKENS = 4096  # CrewAI's default


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # it has no public name


class _Kind(ModelMetaclass):
    """In CrewAI every `LLM` is a `BaseLLM`, so `isinstance` says so for ours too."""

    def __instancecheck__(self, instance: Any) -> bool:
        return super().__instancecheck__(instance) or (self is BaseLLM and isinstance(instance, LLM))


class BaseLLM(LLM, metaclass=_Kind):
    """A model that the user implements. One object serves all concurrent rows, in several threads, so its state is
    shared.

    The fields are CrewAI's; other constructor arguments go to `additional_params`, and a subclass may set any further
    attributes. `base_model` names the published model behind it, whose prices then apply.
    """

    model_config = ConfigDict(
        extra="allow", arbitrary_types_allowed=True, hide_input_in_errors=True, protected_namespaces=()
    )

    llm_type: str = "base"
    stop: list[str] = Field(default_factory=list)
    stream: bool | None = None
    n: int | None = None
    prefer_upload: bool = False
    is_litellm: bool = False
    additional_params: dict[str, Any] = Field(default_factory=dict)

    _token_usage: dict[str, int] = PrivateAttr(default_factory=Counts)

    def __init__(self, model: str | None = None, temperature: float | None = None, **fields: Any) -> None:
        # As in older versions of CrewAI: the first two may be positional, and attributes set before this call survive.
        early = dict(self.__dict__)
        fields = {name: early.pop(name) for name in list(early) if name in type(self).model_fields} | fields
        super().__init__(model, **({} if temperature is None else {"temperature": temperature}), **fields)
        self.__dict__.update(early)

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, values: Any) -> Any:
        """Accept CrewAI's arguments: `stop_sequences` for `stop`, a text for a list, and any that are not fields."""
        if not isinstance(values, dict):
            return values
        fields = {name: value for name, value in values.items() if name in cls.model_fields}
        others = {name: value for name, value in values.items() if name not in fields and name != "stop_sequences"}
        fields["stop"] = as_stops(values.get("stop_sequences") or values.get("stop"))
        fields["additional_params"] = {**(values.get("additional_params") or {}), **others}
        fields["fallbacks"] = as_fallbacks(values.get("fallbacks"))
        return fields

    @field_validator("*", mode="wrap")
    @classmethod
    def _look_up_later(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Leave references to variables as they are: they are only looked up for models that crewrun itself calls."""
        return check(value)

    def __setattr__(self, name: str, value: Any) -> None:
        """Let a subclass set any attribute, even before it has called this constructor."""
        if name in ("stop", "stop_sequences"):
            name, value = "stop", as_stops(value)
        try:
            super().__setattr__(name, value)
        except AttributeError:
            object.__setattr__(self, name, value)

    @property
    def stop_sequences(self) -> list[str]:
        """CrewAI's other name for `stop`."""
        return self.stop

    def supports_function_calling(self) -> bool:
        """Whether `call` accepts `tools`; if not, the prompt describes them."""
        return False

    def supports_stop_words(self) -> bool:
        """Whether `call` honours `stop`. This has no effect: replies are used as they are."""
        return True

    def supports_multimodal(self) -> bool:
        """Whether messages may contain images and files."""
        return False

    def get_context_window_size(self) -> int:
        """How many tokens a prompt may have. In a subclass with its own, tool results that do not fit are shortened."""
        return CONTEXT_WINDOW_TOKENS

    def get_token_usage_summary(self) -> UsageMetrics:
        """The usage of all calls of this object, as far as it was counted."""
        return UsageMetrics(**{name: n for name, n in self._token_usage.items() if name in UsageMetrics.model_fields})

    def _track_token_usage_internal(self, usage_data: dict[str, Any]) -> None:
        """Count the usage that a provider reported for a call; crewrun charges it to the row that made the call."""
        add_usage(self._token_usage, usage_data)

    def _apply_stop_words(self, content: str) -> str:
        """`content` up to the first `stop` word."""
        ends = [end for word in self.stop if word and (end := content.find(word)) >= 0]
        return content[: min(ends)].strip() if ends else content

    def _supports_stop_words_implementation(self) -> bool:
        return bool(self.stop)

    def _format_messages(self, messages: Any) -> list[dict[str, Any]]:
        """Messages as a list, also if they are a single text."""
        return [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(one) for one in messages]

    def _invoke_before_llm_call_hooks(self, messages: Any, from_agent: Any = None) -> bool:
        """Do nothing: crewrun has called the hooks before it calls this model."""
        return True

    def _invoke_after_llm_call_hooks(self, messages: Any, response: Any, from_agent: Any = None) -> Any:
        """Do nothing: crewrun calls the hooks with what this model returns."""
        return response

    @staticmethod
    def _validate_structured_output(response: str, response_format: type[BaseModel] | None) -> Any:
        """`response` as an instance of `response_format`. Raises ValueError if it does not validate."""
        if response_format is None:
            return response
        start, end = response.find("{"), response.rfind("}")
        return response_format.model_validate_json(response[start : end + 1] if 0 <= start < end else response)


def as_stops(values: Any) -> list[str]:
    """A single stop word, a list of them, or None, as a list."""
    if values is None:
        return []
    return [values] if isinstance(values, str) else list(values)
