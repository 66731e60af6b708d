"""`Metric`, and `Board`, the latest readings of all: which the run writes and any thread may read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# The labels of one reading, and its value.
Reading = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its readings. `name` is that of OpenTelemetry, `crewrun.rows`, and `unit` in UCUM, `{row}`.

    A counter only grows during a session; a gauge says how it is now. All readings have the same labels.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    unit: str = ""
    readings: Sequence[Reading] = ()


@dataclass(slots=True)
class Board:
    """The metrics as they were read last. They are replaced as a whole, so that a reader sees one moment."""

    metrics: Sequence[Metric] = field(default_factory=tuple)
