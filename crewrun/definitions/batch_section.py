"""The types of the keys in crew.yaml's `batch:` section, which are the flags of `crewrun batch`."""

from collections.abc import Mapping
from typing import Any, Literal

from crewrun.batch_flags import batch_flags
from crewrun.definitions.value_types import (
    Count,
    Dollars,
    MaxFailures,
    Name,
    NotNegative,
    PerModel,
    Positive,
    Prices,
    RowsAtOnce,
    Span,
    Text,
    Workers,
)
from crewrun.flag_fields import FlagField, Kind

_TYPES: Mapping[Kind, Any] = {
    Kind.TEXT: Text,
    Kind.NAME: Name,
    Kind.SWITCH: bool,
    Kind.COUNT: Count,
    Kind.POSITIVE: Positive,
    Kind.NOT_NEGATIVE: NotNegative,
    Kind.ROWS_OR_AUTO: RowsAtOnce,
    Kind.WORKERS_OR_AUTO: Workers,
    Kind.ROWS_OR_PERCENT: MaxFailures,
    Kind.DURATION: Span,
    Kind.DOLLARS: Dollars,
    Kind.PER_MODEL: PerModel,
    Kind.PRICES: Prices,
    Kind.NAMES: list[Name],
    Kind.INPUTS: dict[Name, Any],
    Kind.COLUMN_MAP: dict[Name, Name],
    Kind.COLUMNS: list[Name],
}


def batch_fields() -> dict[str, Any]:
    """The fields of the section's model for `pydantic.create_model`. All are optional."""
    return {name: (_type(field) | None, None) for name, field in batch_flags().items()}


def _type(field: FlagField) -> Any:
    if field.flag.kind is Kind.CHOICE:
        return Literal[field.flag.choices_in_file] if field.flag.choices_in_file else field.type
    return _TYPES[field.flag.kind]
