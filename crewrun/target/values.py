"""`value_of`: a row's `output` from what a kickoff or the user's function returned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from crewrun.crew.output import AgentOutput, CrewOutput, TaskOutput, jsonable

OUTPUTS = (CrewOutput, TaskOutput, AgentOutput)


@dataclass(frozen=True, slots=True)
class ForeignOutput:
    """The result of a foreign kickoff: its text, the same as a JSON value, and the usage that it reports."""

    raw: str
    value: Any
    token_usage: Any = None

    @classmethod
    def of(cls, result: Any) -> "ForeignOutput":
        """From a CrewAI output or any other object."""
        raw = getattr(result, "raw", None)
        text = raw if isinstance(raw, str) else str(result)
        return cls(text, value_of(result), getattr(result, "token_usage", None))


def value_of(result: Any) -> Any:
    """A row's `output` as a JSON value, from one of our outputs or from what the last callback made of it.

    CrewAI's outputs have `pydantic`, `json_dict` and `raw`; lists and dicts may contain outputs. Any other object is
    the value itself, or its text if JSON has no such value.
    """
    if isinstance(result, (*OUTPUTS, ForeignOutput)):
        return result.value
    if isinstance(result, list | tuple):
        return [value_of(inner) for inner in result]
    if isinstance(result, Mapping):
        return jsonable({key: value_of(inner) for key, inner in result.items()})
    model, fields, raw = (getattr(result, name, None) for name in ("pydantic", "json_dict", "raw"))
    value = raw if isinstance(raw, str) else result
    if isinstance(fields, dict):
        value = fields
    if isinstance(model, BaseModel):
        value = model
    return jsonable(value)
