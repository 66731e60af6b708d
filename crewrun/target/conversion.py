"""`conversion_for` an annotation: from a row's field, which is text in a CSV, to what the user's code needs."""

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
_MOST_FAULTS = 5  # as many as a message of one line can show
# pydantic's error types for a plain value where a list or a mapping is needed.
_LISTS = ("list_type", "tuple_type", "set_type", "frozen_set_type", "sequence_str", "iterable_type")
_DICTS = ("dict_type", "mapping_type", "model_type", "dataclass_type")
_AS_JSON = {**dict.fromkeys(_LISTS, '["a", "b"]'), **dict.fromkeys(_DICTS, '{"name": "value"}')}


@dataclass(frozen=True, slots=True)
class Conversion:
    """Converts values to the type of an annotation; without an `adapter` they stay as they are.

    `is_model`: the type is a model, with the required `fields`. `is_mapping`: it is a mapping of any names.
    """

    adapter: TypeAdapter[Any] | None = None
    fields: Sequence[str] = ()
    is_model: bool = False
    is_mapping: bool = False
    takes_none: bool = False

    def convert(self, value: Any) -> Any:
        """`value` in the annotation's type. Raises ValueError with the reason if it does not fit."""
        if self.adapter is None:
            return value
        try:
            return self.adapter.validate_python(value)
        except ValidationError as invalid:
            if isinstance(value, str):
                return self._from_text(value, invalid)
            raise ValueError(_faults(invalid)) from None
        except Exception as failed:  # the user's validators may raise anything
            raise ValueError(f"{type(failed).__name__}: {failed}") from None

    def _from_text(self, text: str, invalid: ValidationError) -> Any:
        """The value that `text` has as JSON; an empty cell of a CSV is None if the type allows it."""
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
    """The conversion to `annotation`, which is that of a parameter of `function`.

    It converts nothing if the annotation cannot be evaluated at run time, or if pydantic does not support the type.
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
    """`annotation` as an object; Any if it is a string that cannot be evaluated."""
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
        except PydanticUserError:  # models have a config of their own, and pydantic may not support the class
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
    """The required fields of a model, None for types that are not models."""
    if typing.is_typeddict(kind):
        return sorted(kind.__required_keys__)
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items() if field.is_required()]
    if inspect.isclass(kind) and is_dataclass(kind):
        return [f.name for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING]
    return None


def _json_hint(invalid: ValidationError, *, is_json: bool) -> str:
    """How to write a list or a mapping in a text, if the whole value needs to be one."""
    errors = invalid.errors(include_url=False, include_input=False, include_context=False)
    kinds = {error["type"] for error in errors if not is_json or not error["loc"]}
    example = next((example for kind, example in _AS_JSON.items() if kind in kinds), None)
    return f"; a text says it as JSON: {example}" if example else ""


def _faults(invalid: ValidationError) -> str:
    """What is wrong, in one line."""
    faults = []
    for error in invalid.errors(include_url=False, include_input=False, include_context=False)[:_MOST_FAULTS]:
        place = ".".join(str(part) for part in error["loc"])
        line = error["msg"].removeprefix("Value error, ")
        faults.append(f"{place}: {line}" if place else line)
    return "; ".join(faults)
