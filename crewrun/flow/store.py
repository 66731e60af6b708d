"""What a flow's store is given and gives: `Store`, its values, and how a method's result is written.

`crewrun.flow.persistence` has the one in SQLite; `CustomStore` here stands for an object of the user's.
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
    """A call that ended: its number in the run, its method, and its result as `dump_result` made it.

    `result` is None when it cannot be kept.
    """

    number: int
    method: str
    result: bytes | None


class Saved(NamedTuple):
    """A flow as the store has it. `calls` ended in this order; `has_ended` says that nothing was left to do."""

    flow: str
    state: bytes
    calls: list[EndedCall]
    has_ended: bool


@dataclass(slots=True)
class Save:
    """One write: the state as it is now, the calls that ended since the last one, all of them from `begins` on."""

    id: str
    flow: str
    state: bytes
    calls: list[EndedCall]
    has_ended: bool
    begins: bool
    error: CrewrunError | None = None


class Store(Protocol):
    """Where states are kept. `place` is what messages call it."""

    @property
    def place(self) -> str: ...

    async def load(self, state_id: str) -> Saved | None:
        """What was saved under `state_id`, None when nothing was. Raises UsageError when it cannot be read."""
        ...

    async def save(self, one: Save) -> None:
        """Keep it; when this returns it is kept. Raises OutputFailed or UsageError when it cannot be."""
        ...


class FlowPersistence(Protocol):
    """A class of the user's that keeps states, as CrewAI has them; its methods may be async.

    It is given whole states, so a kickoff with a known `id` has its state, and begins at the start.
    """

    def save_state(self, flow_uuid: str, method_name: str, state_data: dict[str, Any]) -> Any:
        """Keep the state with the id `flow_uuid` as it was when `method_name` had ended."""

    def load_state(self, flow_uuid: str) -> Any:
        """The state with that id as a dict, None when there is none."""


class CustomStore:
    """States kept by an object of the user's."""

    def __init__(self, kept_by: FlowPersistence) -> None:
        self._kept_by = kept_by

    @property
    def place(self) -> str:
        """The object, as messages name it."""
        return f"the {type(self._kept_by).__name__} at {id(self._kept_by):#x}"

    async def load(self, state_id: str) -> Saved | None:
        """The state, of a run that has ended. Raises UsageError for what is none."""
        state = await call(self._kept_by.load_state, state_id)
        if state is None:
            return None
        values = state.model_dump(mode="json") if isinstance(state, BaseModel) else state
        if not isinstance(values, dict):
            raise UsageError(f"{self.place}: load_state({state_id!r}) gave {state!r}; a state is a dict, or None")
        return Saved("", to_json(values, fallback=str), [], has_ended=True)

    async def save(self, one: Save) -> None:
        """Hand the state over. Raises what the object raises."""
        if one.calls:
            with anyio.CancelScope(shield=True):
                await call(self._kept_by.save_state, one.id, one.calls[-1].method, from_json(one.state))


def dump_result(result: Any) -> bytes | None:
    """A method's result as JSON: data as it is, pydantic models with their class. None for anything else."""
    try:
        if isinstance(result, BaseModel):
            kind = type(result)
            return json.dumps([f"{kind.__module__}:{kind.__qualname__}", result.model_dump_json()]).encode()
        text = to_json([result])
        return text if from_json(text) == [result] else None  # a tuple or a set would come back as a list
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        return None


def load_result(text: bytes) -> Any:
    """The result that was dumped. Raises ValueError when its class is not what it was."""
    parts = from_json(text)
    if len(parts) == 1:
        return parts[0]
    try:
        model = resolve(parts[0])
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise ValueError(f"{parts[0]} is no pydantic model")
        return model.model_validate_json(parts[1])
    except (DefinitionError, AttributeError, ValidationError) as changed:
        raise ValueError(str(changed)) from None
