"""`InputOptions`: everything that decides which rows an input has. A run's manifest keeps it among its options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crewrun.batch_flags import InputFormat


@dataclass(frozen=True, slots=True)
class InputOptions:
    """How rows are read. Reading an input again gives the same rows and ids only with the same options.

    `id_field` is the field with a row's id; None: its content is its id. `constants` are inputs for all rows; a row's
    own fields override them. `map` has the columns of placeholders that have other names, `fields` the columns that ids
    are made of and results repeat; None: all. The other values are those of the flags: None where the input's name and
    content decide.
    """

    id_field: str | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    format: InputFormat | None = None
    delimiter: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    map: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[str] | None = None
