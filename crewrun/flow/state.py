"""A flow's state: a dict with an `id`, or a pydantic model with one. `StateKind` creates, updates and restores it."""

import uuid
from collections.abc import Mapping
from copy import copy, deepcopy
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model
from pydantic_core import from_json, to_json

from crewrun.errors import DefinitionError, InputInvalid


def _new_id() -> str:
    return str(uuid.uuid4())


# Rows often have numbers as their ids.
Id = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class FlowState(BaseModel):
    """A base for the state of a flow: it declares the `id` that every state has."""

    id: Id = Field(default_factory=_new_id)


class StateKind:
    """How a flow's class declares its state: the model, None for a dict, and the initial values."""

    __slots__ = ("_declared", "_initial", "model")

    def __init__(self, model: type[BaseModel] | None, initial: Mapping[str, Any] | None = None) -> None:
        self._declared = model
        self.model = model if model is None else with_id(model)
        self._initial = dict(initial or {})

    @classmethod
    def of(cls, flow: type, root: type, initial: Any) -> "StateKind":
        """Read it from `Flow[Model]`, where `root` is Flow, and from the class's `initial_state`."""
        model = _argument(flow, root)
        if isinstance(initial, type) and issubclass(initial, BaseModel):
            return cls(model or initial)
        if isinstance(initial, BaseModel):
            return cls(model or type(initial), _fields(initial))
        if initial is None or initial is dict:
            return cls(model)
        if not isinstance(initial, Mapping):
            raise DefinitionError(f"{flow.__name__}.initial_state is {initial!r}; it is a dict or a pydantic model")
        return cls(model, initial)

    def new(self, fields: Mapping[str, Any]) -> Any:
        """A state with `fields` in it. Raises InputInvalid naming those that are invalid or missing."""
        values = {**deepcopy(self._initial), **fields}
        return {"id": _new_id(), **values} if self.model is None else _validated(self.model, values)

    def updated(self, state: Any, inputs: Mapping[str, Any]) -> Any:
        """`state` with `inputs` in it; a dict is the same object. Raises InputInvalid."""
        if isinstance(state, BaseModel):
            return _validated(type(state), {**_fields(state, but=inputs), **inputs}) if inputs else state
        state.update(inputs)
        return state

    def accepted(self, value: Any, state_id: Any) -> Any:
        """The value assigned to `flow.state`, with the id of the state before. Raises TypeError for another type."""
        if self.model is None or self._declared is None:
            if not isinstance(value, dict):
                raise TypeError(f"self.state is a dict here, not {value!r}; Flow[{type(value).__name__}] has a model")
            value.setdefault("id", state_id or _new_id())
            return value
        if isinstance(value, self.model):
            return value
        if not isinstance(value, self._declared):
            raise TypeError(f"self.state is a {self.model.__name__} here, not {value!r}")
        return self.model.model_validate({"id": state_id or _new_id(), **_fields(value)})

    def copied(self, state: Any) -> Any:
        """An independent copy with a new id."""
        if not isinstance(state, BaseModel):
            return {**_deep(state), "id": _new_id()}
        values, field = _deep(dict(state)), type(state).model_fields.get("id")
        if field is not None and field.default_factory is not None:
            values["id"] = field.get_default(call_default_factory=True, validated_data=values)
        return state.model_copy(update=values)

    def dumped(self, state: Any) -> bytes:
        """`state` as JSON. Raises PydanticSerializationError for values that JSON does not have."""
        if isinstance(state, BaseModel):
            return state.model_dump_json(round_trip=True, by_alias=True).encode()
        return to_json(state)

    def loaded(self, text: bytes, inputs: Mapping[str, Any]) -> Any:
        """The state that was dumped, with `inputs` in it. Raises InputInvalid if it does not fit the model any more."""
        if self.model is None:
            values = from_json(text)
            if not isinstance(values, dict):
                raise InputInvalid(f"it is {values!r}, no object")
            return {**values, **inputs}
        more = {name: value for name, value in inputs.items() if name != "id"}
        return self.updated(_validated(self.model, text), more)

    def forked(self, text: bytes, inputs: Mapping[str, Any]) -> Any:
        """As `loaded`, with the id in `inputs`, else a new one."""
        state = self.loaded(text, inputs)
        return self.updated(state, {"id": inputs["id"]}) if inputs.get("id") else self.copied(state)


def owned(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """`inputs` with their dicts and lists copied, so that a flow may change its state; other objects are shared."""
    return {name: _owned(value) for name, value in inputs.items()}


def _owned(value: Any) -> Any:
    if type(value) is dict:
        return owned(value)
    return [_owned(item) for item in value] if type(value) is list else value


def id_of(state: Any) -> str:
    """The state's id, as text."""
    return str(state.get("id", "") if isinstance(state, dict) else getattr(state, "id", ""))


def _validated(model: type[BaseModel], values: Mapping[str, Any] | bytes) -> BaseModel:
    try:
        return model.model_validate_json(values) if isinstance(values, bytes) else model.model_validate(values)
    except ValidationError as invalid:
        faults = [
            f"input {'.'.join(map(str, e['loc'])) or 'object'!r}: {e['msg']}"
            for e in invalid.errors(include_url=False, include_input=False)
        ]
        raise InputInvalid(f"{'; '.join(faults)} (the flow's state is of class {model.__name__})") from None


@lru_cache(maxsize=256)
def with_id(model: type[BaseModel]) -> type[BaseModel]:
    """`model` if it has a field `id`, else a subclass of the same name that has."""
    if "id" in model.model_fields:
        return model
    field = (Id, Field(default_factory=_new_id))
    subclass = create_model(model.__name__, __base__=model, __module__=model.__module__, id=field)
    subclass.__qualname__ = model.__qualname__
    return subclass


def _argument(flow: type, root: type) -> type[BaseModel] | None:
    """The model in `Flow[Model]`, from whichever base class has it; None for a dict."""
    for kind in flow.__mro__:
        for base in vars(kind).get("__orig_bases__", ()):
            origin = get_origin(base)
            if not (isinstance(origin, type) and issubclass(origin, root)):
                continue
            argument = get_args(base)[0]
            if isinstance(argument, TypeVar):
                continue
            if isinstance(argument, type) and issubclass(argument, BaseModel):
                return argument
            if argument is dict or get_origin(argument) is dict:
                return None
            raise DefinitionError(
                f"{flow.__name__}: Flow[{argument!r}]: a state is a pydantic model, or a dict without []"
            )
    return None


def _fields(model: BaseModel, but: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The model's values by the names that validation takes, without the fields that are in `but` by name or alias."""
    values = {}
    for name, field in type(model).model_fields.items():
        alias = field.validation_alias if isinstance(field.validation_alias, str) else field.alias
        if name not in but:
            values[alias or name] = getattr(model, name)
    return {**values, **(model.model_extra or {})}


def _deep(values: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy. Objects that cannot be copied, such as clients or locks, are shared."""
    try:
        return deepcopy(dict(values))
    except Exception:  # the user's objects may raise anything
        return {name: _deep_one(value) for name, value in values.items()}


def _deep_one(value: Any) -> Any:
    try:
        return deepcopy(value)
    except Exception:
        return copy(value) if isinstance(value, list | dict | set) else value
