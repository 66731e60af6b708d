"""What a row's `output` is made of: `value_of` whatever a kickoff or a function of the user's returned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from crewrun.crew.output import AgentOutput, CrewOutput, TaskOutput, jsonable

OUTPUTS = (CrewOutput, TaskOutput, AgentOutput)


@dataclass(frozen=True, slots=True)
class ForeignOutput:
    """What a foreign kickoff came to: its text, the same as a JSON value, and what it says that it used."""

    raw: str
    value: Any
    token_usage: Any = None

    @classmethod
    def of(cls, result: Any) -> "ForeignOutput":
        """Out of a CrewAI output, or of any other object."""
        raw = getattr(result, "raw", None)
        text = raw if isinstance(raw, str) else str(result)
        return cls(text, value_of(result), getattr(result, "token_usage", None))


def value_of(result: Any) -> Any:
    """What a row's `output` is, as JSON: the value in an output of ours, or else what the last callback made of it.

    CrewAI's outputs have `pydantic`, `json_dict` and `raw`; lists and dicts may hold outputs; any other object is its
    own value, a strange one its text.
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
