"""`Store`: the interface of a flow's store, the values that it saves and loads, and the encoding of a method's result.

`crewrun.flow.persistence` has the store in SQLite; `CustomStore` here wraps an object of the user's.
"""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import anyio
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from crewrun.aio.concurrency import call
from crewrun.errors import CrewrunError, DefinitionError, UsageError
from crewrun.references import resolve


class EndedCall(NamedTuple):
    """A call that has ended: its number in the run, its method, and its result from `dump_result`.

    `result` is None if it cannot be stored.
    """

    number: int
    method: str
    result: bytes | None


class Saved(NamedTuple):
    """A flow as the store has it. `calls` are in the order in which they ended; `has_ended`: the whole run has."""

    flow: str
    state: bytes
    calls: list[EndedCall]
    has_ended: bool


@dataclass(slots=True)
class Save:
    """One write: the state as it is now, and the calls that have ended since the last write.

    `begins` says that `calls` replace those stored under the id. The store sets `error` if the write fails.
    """

    id: str
    flow: str
    state: bytes
    calls: list[EndedCall]
    has_ended: bool
    begins: bool
    error: CrewrunError | None = None


class Store(Protocol):
    """Where states are stored. `place` is its name in messages."""

    @property
    def place(self) -> str: ...

    async def load(self, state_id: str) -> Saved | None:
        """What was saved under `state_id`, or None. Raises UsageError if it cannot be read."""
        ...

    async def save(self, save: Save) -> None:
        """Store it durably before this returns. Raises OutputFailed or UsageError if that fails."""
        ...


class FlowPersistence(Protocol):
    """A class of the user's that stores states, with CrewAI's interface; its methods may be async.

    It stores whole states and no calls: a kickoff with a stored `id` has that state, and begins at the start.
    """

    def save_state(self, flow_uuid: str, method_name: str, state_data: dict[str, Any]) -> Any:
        """Store the state with the id `flow_uuid` as it was when `method_name` had ended."""

    def load_state(self, flow_uuid: str) -> Any:
        """The state with that id as a dict, or None."""


class CustomStore:
    """States stored by an object of the user's."""

    def __init__(self, persistence: FlowPersistence) -> None:
        self._persistence = persistence

    @property
    def place(self) -> str:
        """The object, as messages name it."""
        return f"the {type(self._persistence).__name__} at {id(self._persistence):#x}"

    async def load(self, state_id: str) -> Saved | None:
        """The state, as that of a run that has ended. Raises UsageError if `load_state` returns anything else."""
        state = await call(self._persistence.load_state, state_id)
        if state is None:
            return None
        values = state.model_dump(mode="json") if isinstance(state, BaseModel) else state
        if not isinstance(values, dict):
            raise UsageError(f"{self.place}: load_state({state_id!r}) gave {state!r}; a state is a dict, or None")
        return Saved("", to_json(values, fallback=str), [], has_ended=True)

    async def save(self, save: Save) -> None:
        """Pass the state to the object. Raises what the object raises."""
        if save.calls:
            with anyio.CancelScope(shield=True):
                await call(self._persistence.save_state, save.id, save.calls[-1].method, from_json(save.state))


def dump_result(result: Any) -> bytes | None:
    """A method's result as JSON: data as it is, a pydantic model with its class. None for anything else."""
    try:
        if isinstance(result, BaseModel):
            kind = type(result)
            return json.dumps([f"{kind.__module__}:{kind.__qualname__}", result.model_dump_json()]).encode()
        text = to_json([result])
        return text if from_json(text) == [result] else None  # a tuple or a set would come back as a list
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        return None


def load_result(text: bytes) -> Any:
    """The result that was dumped. Raises ValueError if its class is gone or does not validate it any more."""
    parts = from_json(text)
    if len(parts) == 1:
        return parts[0]
    try:
        model = resolve(parts[0])
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise ValueError(f"{parts[0]} is not a pydantic model")
        return model.model_validate_json(parts[1])
    except (DefinitionError, AttributeError, ValidationError) as unfit:
        raise ValueError(str(unfit)) from None
