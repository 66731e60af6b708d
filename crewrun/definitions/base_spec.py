"""`Spec`: what all mappings in a definition have in common. `spec` has the mappings themselves."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """One mapping in the file. `noun` is its name in messages."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    noun: ClassVar[str]
    not_yet: ClassVar[frozenset[str]] = frozenset()
    ignored: ClassVar[frozenset[str]] = frozenset()

    def explicit(self) -> dict[str, Any]:
        """The values that the file sets, by key."""
        return {name: value for name, value in self if value is not None and name in self.model_fields_set}
