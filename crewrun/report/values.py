"""Values of result lines, and the units that the page has them in."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crewrun.compare.equality import is_number


def micro_usd(usd: float | None) -> float | None:
    """US dollars in millionths, None for None."""
    return None if usd is None else round(usd * 1e6, 3)


def milliseconds(seconds: float | None) -> int | None:
    """Seconds in thousandths, None for None."""
    return None if seconds is None else round(seconds * 1000)


def unix_ms(text: str) -> int:
    """A time of a result line as Unix time in milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def object_in(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object of a result, an empty one where it has none: lines without a run folder may lack anything."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def number_in(record: Mapping[str, Any], name: str) -> float | None:
    """A number of a result, None where it has none with which one can calculate, such as 1e400."""
    value = record.get(name)
    return value if is_number(value) else None


def text_in(record: Mapping[str, Any], name: str) -> str | None:
    """A text of a result, None where it has none."""
    value = record.get(name)
    return value if isinstance(value, str) else None
