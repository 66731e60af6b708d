"""`OffPeak`: hours at which a provider charges less for the same tokens, as given in litellm's table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crewrun.llm.prices.rates import Schedule


class Window(NamedTuple):
    """Hours of the day in UTC, from `start` up to but not including `end`, which may be past midnight. `weekdays` are 1
    to 7 in the time zone `zone`, None for all.
    """

    start: time
    end: time
    weekdays: frozenset[int] | None
    zone: tzinfo

    def has(self, at: datetime) -> bool:
        """Whether `at`, in UTC, falls into it."""
        if self.weekdays is not None and at.astimezone(self.zone).isoweekday() not in self.weekdays:
            return False
        now = at.time()
        return self.start <= now < self.end if self.start < self.end else now >= self.start or now < self.end


@dataclass(frozen=True, slots=True)
class OffPeak:
    """The schedules that apply during `windows`."""

    windows: tuple[Window, ...]
    schedules: Mapping[str, Schedule]

    def is_open(self, at: datetime) -> bool:
        """Whether they apply at `at`."""
        at = at.astimezone(UTC)
        return any(window.has(at) for window in self.windows)


def read_windows(block: Mapping[str, Any]) -> tuple[Window, ...]:
    """The windows of an entry's `off_peak_pricing`. One that cannot be parsed is left out: full price applies."""
    try:
        zone: tzinfo = ZoneInfo(block.get("weekday_timezone") or "UTC")
    except (ValueError, ZoneInfoNotFoundError):
        zone = UTC
    windows = list(_hours(block.get("hours_utc"), None, zone))
    for rule in block.get("windows") or ():
        days = rule.get("weekdays")
        windows += _hours(rule.get("hours_utc"), None if days is None else frozenset(days), zone)
    return tuple(windows)


def _hours(spans: Any, weekdays: frozenset[int] | None, zone: tzinfo) -> Iterator[Window]:
    for span in [spans] if isinstance(spans, str) else spans or ():
        start, _, end = span.partition("-")
        try:
            yield Window(time.fromisoformat(start.strip()), time.fromisoformat(end.strip()), weekdays, zone)
        except ValueError:
            continue
