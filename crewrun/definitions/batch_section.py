"""The types of the keys in crew.yaml's `batch:` section, which are the flags of `crewrun batch`."""

from collections.abc import Mapping
from typing import Any, Literal

from crewrun.batch_flags import batch_flags
from crewrun.definitions.value_types import (
    Address,
    ColumnNames,
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
from crewrun.flag_fields import NEEDED, FlagField, Kind

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
    Kind.COLUMN_MAP: dict[Name, Text],
    Kind.COLUMNS: ColumnNames,
    Kind.ADDRESS: Address,
}


# Kinds whose values may have more than one type, or a range: one description of all that is possible is clearer than
# what pydantic finds wrong with the type that is nearest.
_DESCRIBED = frozenset(
    {
        *(Kind.COUNT, Kind.POSITIVE, Kind.NOT_NEGATIVE, Kind.ROWS_OR_AUTO, Kind.WORKERS_OR_AUTO, Kind.ROWS_OR_PERCENT),
        *(Kind.DURATION, Kind.DOLLARS, Kind.PER_MODEL, Kind.PRICES, Kind.ADDRESS),
    }
)


def needed_at(path: tuple[str | int, ...]) -> str | None:
    """What the value at `path` in the section needs to be, None where a fault says enough by itself."""
    flag = batch_flags().get(str(path[0]).replace("-", "_")) if path else None
    if flag is None or flag.flag.kind not in _DESCRIBED:
        return None
    if len(path) == 1:
        return NEEDED[flag.flag.kind]
    return "a whole number from 1" if flag.flag.kind is Kind.PER_MODEL else None


def batch_fields() -> dict[str, Any]:
    """The fields of the section's model for `pydantic.create_model`. All are optional."""
    return {name: (_type(field) | None, None) for name, field in batch_flags().items()}


def _type(field: FlagField) -> Any:
    if field.flag.kind is Kind.CHOICE:
        return Literal[field.flag.choices_in_file] if field.flag.choices_in_file else field.type
    return _TYPES[field.flag.kind]
