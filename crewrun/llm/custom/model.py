"""Models that the user's own code calls: which objects are such models, and what their endpoint is.

They are subclasses of `BaseLLM` or `LLM` with a `call` or `acall`, and other objects that have one. What decides their
answers is their class with its code, the model's name, the parameters, and the plain values of public attributes as
they are when the object is first used: a counter that grows later does not make it another model.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from crewrun.errors import UsageError
from crewrun.fingerprint import fingerprint
from crewrun.llm.model_fields import ModelFields
from crewrun.messages import Endpoint
from crewrun.redaction.credentials import settings_without_credentials
from crewrun.redaction.values import is_secret_name

# Parameters under the names that all models have. They may change between calls.
SETTINGS: Final = (
    *("model", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "n"),
    *("frequency_penalty", "presence_penalty", "reasoning_effort", "base_url", "additional_params"),
)
# Attributes that do not decide its answers.
_NOT_DESCRIBED: Final = frozenset(
    {"fallbacks", "custom", "timeout", "stream", "provider", "prefer_upload", "is_litellm"}
)
# CrewAI's model classes are names: crewrun calls their providers itself.
_CREWAI: Final = "crewai"


class CallArguments(NamedTuple):
    """The arguments of a `call` that a run's code makes itself."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


# The model whose `call` the current code is part of.
calling: ContextVar[Any] = ContextVar("crewrun_calling", default=None)
# The arguments with which the user's code calls the model; None where an agent does.
given_call: ContextVar[CallArguments | None] = ContextVar("crewrun_given_call", default=None)


def calls_by_itself(value: Any) -> bool:
    """Whether `value` has a `call` of the user's own, and is not one of CrewAI's models or a plain LLM."""
    if isinstance(value, str | dict | list | tuple | type) or value is None:
        return False
    if _adapted(value) is not None:
        return True
    return own_method(type(value), "call") is not None or own_method(type(value), "acall") is not None


def own_method(kind: type, name: str) -> Callable[..., Any] | None:
    """The `call` or `acall` of the user's own that objects of a class have; None for that of LLM or of CrewAI."""
    owner = next((part for part in kind.__mro__ if callable(vars(part).get(name))), None)
    if owner is None or _is_llm(owner) or owner.__module__.partition(".")[0] == _CREWAI:
        return None
    method: Callable[..., Any] = vars(owner)[name]
    return method


def is_custom(llm: Any) -> bool:
    """Whether the user's code is what answers a call of `llm` made here. A subclass of LLM that is being called may
    ask its provider; a `BaseLLM` has none.
    """
    return calls_by_itself(llm) and (calling.get() is not llm or is_base(llm))


def is_base(value: Any) -> bool:
    """Whether `value` is a `BaseLLM`."""
    return hasattr(value, "llm_type")


def custom_of(llm: Any) -> Any:
    """The object whose `call` is called for `llm`."""
    adapted = _adapted(llm)
    return llm if adapted is None else adapted


def settings_of(custom: Any) -> dict[str, Any]:
    """The parameters that are set, by the names that all models have."""
    values = {name: getattr(custom, name, None) for name in SETTINGS}
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def described(custom: Any) -> dict[str, Any]:
    """What decides the answers of a custom model, as JSON, without credentials."""
    attributes = {**getattr(custom, "__dict__", {}), **(getattr(custom, "__pydantic_extra__", None) or {})}
    left_out = _NOT_DESCRIBED | {"tier"} if isinstance(custom, ModelFields) else _NOT_DESCRIBED
    plain = {
        name: value
        for name, value in attributes.items()
        if not name.startswith("_") and name not in left_out and not is_secret_name(name) and _is_plain(value)
    }
    plain = settings_without_credentials({**plain, **settings_of(custom)})
    return {"code": fingerprint(type(custom)), **plain}


def custom_endpoint(llm: Any) -> Endpoint:
    """The endpoint of a model that calls by itself. Raises UsageError if it fails to say what it takes."""
    custom = custom_of(llm)
    name, timeout_s = getattr(custom, "model", None), getattr(custom, "timeout", None)
    base_model = getattr(custom, "base_model", None)
    return Endpoint(
        transport_name="custom",
        provider=type(custom).__name__,
        model=name if isinstance(name, str) and name else "model",
        params=described(custom),
        timeout_s=timeout_s if isinstance(timeout_s, int | float) and timeout_s > 0 else None,
        takes_tools=bool(_answer_of(custom, "supports_function_calling", default=False)),
        base_model=base_model if isinstance(base_model, str) else None,
        context_tokens=_context_tokens(custom),
        custom=custom,
    )


def as_plain(llm: ModelFields) -> ModelFields:
    """A model of the user's own as one that crewrun calls: its name and parameters. Any other model unchanged."""
    if not calls_by_itself(llm):
        return llm
    fields = settings_of(custom_of(llm))
    fields.pop("base_url", None)  # of a server that may speak anything
    others = fields.pop("additional_params", {})
    return ModelFields(**{"model": type(llm).__name__, **others, **fields})


def _adapted(value: Any) -> Any:
    """The object that an LLM stands for which was made of one, None for anything else."""
    return vars(value).get("custom") if _is_llm(type(value)) else None


def _is_llm(owner: type) -> bool:
    return owner.__module__ == "crewrun.llm.model"


def _context_tokens(custom: Any) -> int | None:
    """The context size that the model's own class states, None if it only has CrewAI's default."""
    owner = next((kind for kind in type(custom).__mro__ if "get_context_window_size" in vars(kind)), None)
    if owner is None or owner.__module__.partition(".")[0] in ("crewrun", _CREWAI):
        return None
    size = _answer_of(custom, "get_context_window_size", default=None)
    return size if isinstance(size, int) and size > 0 else None


def _answer_of(custom: Any, method: str, *, default: Any) -> Any:
    function = getattr(custom, method, None)
    if not callable(function):
        return default
    try:
        return function()
    except Exception as failed:
        name = type(custom).__name__
        raise UsageError(f"{name}.{method}() raised {type(failed).__name__}: {failed}") from failed


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
