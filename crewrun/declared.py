"""`Declared`: the base of the pydantic classes that users construct, with our own errors left unwrapped."""

from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel, PrivateAttr, ValidationError

from crewrun.errors import DefinitionError


class Declared(BaseModel):
    """A part of a definition. A DefinitionError raised by its validators reaches the caller as it is, although it is a
    ValueError, which pydantic would wrap in a ValidationError.
    """

    _crewrun_id: UUID | None = PrivateAttr(default=None)

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
            return
        except ValidationError as invalid:
            fault = _own_fault(invalid)
        raise fault.with_traceback(None)  # which had pydantic's frames

    @property
    def id(self) -> UUID:
        """CrewAI's id: another one in each process. Copies that are made after it was first asked for have the same."""
        if self._crewrun_id is None:
            self._crewrun_id = uuid4()
        return self._crewrun_id

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
            return
        except ValidationError as invalid:
            fault = _own_fault(invalid)
        raise fault.with_traceback(None)


def _own_fault(invalid: ValidationError) -> Exception:
    faults = (error.get("ctx", {}).get("error") for error in invalid.errors(include_url=False, include_input=False))
    return next((fault for fault in faults if isinstance(fault, DefinitionError)), invalid)
