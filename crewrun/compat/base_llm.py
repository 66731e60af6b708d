"""`BaseLLM`: a model that the user's own code calls, CrewAI's way to bring one.

A subclass has `call`, or `acall`, or both, and may have `supports_function_calling` and `get_context_window_size`. How
it is called is in `llm.transports.custom`, what its endpoint is in `llm.custom.model`.
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

CONTEXT_WINDOW_TOKENS = 4096  # CrewAI's, of a model that does not say


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # it has no public name


class _Kind(ModelMetaclass):
    """CrewAI's `LLM` is a `BaseLLM`, and so is ours wherever a user's code asks."""

    def __instancecheck__(self, instance: Any) -> bool:
        return super().__instancecheck__(instance) or (self is BaseLLM and isinstance(instance, LLM))


class BaseLLM(LLM, metaclass=_Kind):
    """A model of the user's own. One object serves all rows at once, in several threads: what it keeps is shared.

    The fields are CrewAI's; what else the constructor is given is kept in `additional_params`, and a subclass may set
    any other attributes. `base_model` names the published model behind it, whose price calls then have.
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
        # Older versions of CrewAI take the first two by position, and keep what was set before.
        early = dict(self.__dict__)
        fields = {name: early.pop(name) for name in list(early) if name in type(self).model_fields} | fields
        super().__init__(model, **({} if temperature is None else {"temperature": temperature}), **fields)
        self.__dict__.update(early)

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, values: Any) -> Any:
        """CrewAI's arguments: `stop_sequences` for `stop`, a text for a list, and what is no field beside them."""
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
        """References to variables are for the models that crewrun calls itself."""
        return check(value)

    def __setattr__(self, name: str, value: Any) -> None:
        """A subclass may set what it likes, also before it has called this class's constructor."""
        if name in ("stop", "stop_sequences"):
            name, value = "stop", as_stops(value)
        try:
            super().__setattr__(name, value)
        except AttributeError:
            object.__setattr__(self, name, value)

    @property
    def stop_sequences(self) -> list[str]:
        """`stop`, under its other name."""
        return self.stop

    def supports_function_calling(self) -> bool:
        """Whether `call` takes `tools`; without it tools are asked for in words."""
        return False

    def supports_stop_words(self) -> bool:
        """Whether `call` heeds `stop`. It has no effect: replies are read as they are."""
        return True

    def supports_multimodal(self) -> bool:
        """Whether messages may have images and files."""
        return False

    def get_context_window_size(self) -> int:
        """How many tokens a prompt may have. A subclass that says it has tool results shortened that do not fit."""
        return CONTEXT_WINDOW_TOKENS

    def get_token_usage_summary(self) -> UsageMetrics:
        """What all calls of this object used, as far as it was counted."""
        return UsageMetrics(**{name: n for name, n in self._token_usage.items() if name in UsageMetrics.model_fields})

    def _track_token_usage_internal(self, usage_data: dict[str, Any]) -> None:
        """Count what a provider says that a call used; crewrun bills the row that it was made for."""
        add_usage(self._token_usage, usage_data)

    def _apply_stop_words(self, content: str) -> str:
        """`content` up to the first of the `stop` words."""
        ends = [end for word in self.stop if word and (end := content.find(word)) >= 0]
        return content[: min(ends)].strip() if ends else content

    def _supports_stop_words_implementation(self) -> bool:
        return bool(self.stop)

    def _format_messages(self, messages: Any) -> list[dict[str, Any]]:
        """Messages as a list, whatever they were given as."""
        return [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(one) for one in messages]

    def _invoke_before_llm_call_hooks(self, messages: Any, from_agent: Any = None) -> bool:
        """Hooks were called before this model was."""
        return True

    def _invoke_after_llm_call_hooks(self, messages: Any, response: Any, from_agent: Any = None) -> Any:
        """Hooks are called with what this model returns."""
        return response

    @staticmethod
    def _validate_structured_output(response: str, response_format: type[BaseModel] | None) -> Any:
        """`response` as an instance of `response_format`. Raises ValueError when it is none."""
        if response_format is None:
            return response
        start, end = response.find("{"), response.rfind("}")
        return response_format.model_validate_json(response[start : end + 1] if 0 <= start < end else response)


def as_stops(values: Any) -> list[str]:
    """Stop words, of one or several."""
    if values is None:
        return []
    return [values] if isinstance(values, str) else list(values)
