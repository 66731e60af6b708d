"""`Declared`: the base of pydantic classes that users construct, whose faults are raised as what they are."""

from typing import Any

from pydantic import BaseModel, ValidationError

from crewrun.errors import DefinitionError


class Declared(BaseModel):
    """A part of a definition. A DefinitionError of its validators comes out as itself, also where it is a ValueError,
    which pydantic would put away in a ValidationError.
    """

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as invalid:
            raise _own_fault(invalid) from None

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except ValidationError as invalid:
            raise _own_fault(invalid) from None


def _own_fault(invalid: ValidationError) -> Exception:
    faults = (error.get("ctx", {}).get("error") for error in invalid.errors(include_url=False, include_input=False))
    return next((fault for fault in faults if isinstance(fault, DefinitionError)), invalid)
