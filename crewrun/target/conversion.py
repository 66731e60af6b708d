"""`conversion_for` an annotation: from a field of a row, which may be a CSV's text, to what the user's code expects."""

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

_NUMBERS_AS_TEXTS = ConfigDict(coerce_numbers_to_str=True)
_MOST_FAULTS = 5
# The types of pydantic's faults where a value has parts and was given none, with an example in JSON.
_LISTS = ("list_type", "tuple_type", "set_type", "frozen_set_type", "sequence_str", "iterable_type")
_DICTS = ("dict_type", "mapping_type", "model_type", "dataclass_type")
_AS_JSON = {**dict.fromkeys(_LISTS, '["a", "b"]'), **dict.fromkeys(_DICTS, '{"name": "value"}')}


@dataclass(frozen=True, slots=True)
class Conversion:
    """How values become what an annotation says; without an `adapter` they stay as they are.

    `is_model` says that a model of fields is asked for, whose required ones are `fields`, and `is_mapping` that a
    mapping of any names is.
    """

    adapter: TypeAdapter[Any] | None = None
    fields: Sequence[str] = ()
    is_model: bool = False
    is_mapping: bool = False
    takes_none: bool = False

    def convert(self, value: Any) -> Any:
        """`value` as the annotation has it. Raises ValueError with the reason when it does not fit."""
        if self.adapter is None:
            return value
        try:
            return self.adapter.validate_python(value)
        except ValidationError as invalid:
            if isinstance(value, str):
                return self._from_text(value, invalid)
            raise ValueError(_faults(invalid)) from None
        except Exception as failed:  # a validator of the user's may raise anything
            raise ValueError(f"{type(failed).__name__}: {failed}") from None

    def _from_text(self, text: str, invalid: ValidationError) -> Any:
        """What `text`, which is no such value itself, says in JSON; an empty cell of a CSV is None where that fits."""
        assert self.adapter is not None  # noqa: S101  (`convert` has one)
        if not text.strip() and self.takes_none:
            return None
        try:
            return self.adapter.validate_json(text)
        except ValidationError as wrong:
            is_json = not any(error["type"] == "json_invalid" for error in wrong.errors(include_url=False))
            fault = wrong if is_json else invalid
            raise ValueError(_faults(fault) + _json_hint(fault, is_json=is_json)) from None


_AS_IT_IS = Conversion()


def conversion_for(annotation: Any, function: Callable[..., Any]) -> Conversion:
    """The conversion to `annotation`, which stands at a parameter of `function`.

    One that names what is absent at run time, or that pydantic does not know, converts nothing.
    """
    expected = _evaluated(annotation, function)
    if expected in (inspect.Parameter.empty, Any, object, None):
        return _AS_IT_IS
    inner = _without_none(expected)
    adapter, needed = _adapter(expected), _required_fields(inner)
    if adapter is None and needed is None:
        return _AS_IT_IS
    origin = typing.get_origin(inner) or inner
    is_mapping = needed is None and inspect.isclass(origin) and issubclass(origin, Mapping)
    return Conversion(adapter, needed or (), needed is not None, is_mapping, takes_none=inner is not expected)


def _evaluated(annotation: Any, function: Callable[..., Any]) -> Any:
    """`annotation` as an object; Any when it is a text that cannot be evaluated."""
    text = annotation.__forward_arg__ if isinstance(annotation, typing.ForwardRef) else annotation
    if not isinstance(text, str):
        return annotation
    source = inspect.unwrap(getattr(function, "__func__", function))
    initializer = source.__init__ if inspect.isclass(source) else source
    names = getattr(initializer, "__globals__", None) or vars(
        sys.modules.get(getattr(source, "__module__", ""), typing)
    )
    try:
        return eval(text, dict(names))  # noqa: S307  (the user's own annotation, as typing.get_type_hints does)
    except Exception:
        return Any


def _adapter(expected: Any) -> TypeAdapter[Any] | None:
    for config in (_NUMBERS_AS_TEXTS, None):
        try:
            return TypeAdapter(expected, config=config)
        except PydanticUserError:  # a model has a config of its own; other classes are none that pydantic knows
            continue
        except Exception:  # an annotation may be anything, and so may what it raises
            return None
    return None


def _without_none(expected: Any) -> Any:
    """`X` of `Optional[X]` and `X | None`; anything else as it is."""
    if typing.get_origin(expected) not in (typing.Union, types.UnionType):
        return expected
    others = [part for part in typing.get_args(expected) if part is not type(None)]
    return others[0] if len(others) == 1 and len(others) < len(typing.get_args(expected)) else expected


def _required_fields(kind: Any) -> Sequence[str] | None:
    """The fields that a model of fields must be given, None for what is no such model."""
    if typing.is_typeddict(kind):
        return sorted(kind.__required_keys__)
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items() if field.is_required()]
    if inspect.isclass(kind) and is_dataclass(kind):
        return [f.name for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING]
    return None


def _json_hint(invalid: ValidationError, *, is_json: bool) -> str:
    """How a text says a value that has parts, where such a value as a whole was meant."""
    errors = invalid.errors(include_url=False, include_input=False, include_context=False)
    kinds = {error["type"] for error in errors if not is_json or not error["loc"]}
    example = next((example for kind, example in _AS_JSON.items() if kind in kinds), None)
    return f"; a text says it as JSON: {example}" if example else ""


def _faults(invalid: ValidationError) -> str:
    """What is wrong, in a line."""
    faults = []
    for error in invalid.errors(include_url=False, include_input=False, include_context=False)[:_MOST_FAULTS]:
        place = ".".join(str(part) for part in error["loc"])
        line = error["msg"].removeprefix("Value error, ")
        faults.append(f"{place}: {line}" if place else line)
    return "; ".join(faults)
