"""`Declared`: the base of the pydantic classes that users construct, with our own errors left unwrapped."""

from typing import Any

from pydantic import BaseModel, ValidationError

from crewrun.errors import DefinitionError


class Declared(BaseModel):
    """A part of a definition. A DefinitionError raised by its validators reaches the caller as it is, although it is a
    ValueError, which pydantic would wrap in a ValidationError.
    """

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
            return
        except ValidationError as invalid:
            fault = _own_fault(invalid)
        raise fault.with_traceback(None)  # which had pydantic's frames

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
