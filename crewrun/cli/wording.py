"""Formats what commands print for people: counts, tokens, rates, forecasts. `crewrun.wording` has amounts alone."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from crewrun.wording import count, duration, money

if TYPE_CHECKING:
    from crewrun.batch.canary import Forecast
    from crewrun.batch.forecast import Interval

__all__ = [
    "count",
    "duration",
    "in_words",
    "local_minute",
    "may_be_owed",
    "money",
    "rate",
    "row_counts",
    "shortened",
    "size",
    "tokens",
]

_NO_USD = 1e-9  # smaller amounts are rounding errors of floating-point sums


def may_be_owed(spent: Mapping[str, Any]) -> str:
    """` (may be owed: $0.12 more)` for attempts with an unknown bill, an empty text when nothing may be owed."""
    owed_usd = spent["may_be_owed_usd"]
    if owed_usd is None:
        return " (more may be owed, of unknown price)"
    return f" (may be owed: {money(owed_usd)} more)" if owed_usd >= _NO_USD else ""


def row_counts(summary: Mapping[str, Any]) -> str:
    """`540 ok, 12 failed, 3 done before, 46 left`, from the counts of a summary."""
    rows = summary["rows"]
    words = [f"{rows['ok']:,} ok", f"{rows['failed']:,} failed"]
    words += [f"{rows['kept']:,} done before"] if rows["kept"] else []
    words += [f"{rows['kept_failed']:,} failed before"] if rows["kept_failed"] else []
    left = rows["pending"] + rows["abandoned"]  # what was given up in flight runs again with the rest
    if summary["unread"] is None:
        words.append(f"at least {left:,} left" if left else "the rest not counted")
    elif left:
        words.append(f"{left:,} left")
    return ", ".join(words)


def tokens(usage: Mapping[str, Any]) -> str:
    """`1,200 tokens (900 in, 85% of them cached, 300 out)`, from the counts of `row.usage_json`."""
    prompt, cached = usage["prompt_tokens"], usage["cached_prompt_tokens"]
    of_prompt = f"{prompt:,} in, {share(cached / prompt)} of them cached" if cached and prompt else f"{prompt:,} in"
    return f"{usage['total_tokens']:,} tokens ({of_prompt}, {usage['completion_tokens']:,} out)"


def share(part: float) -> str:
    """A share above 0 in percent: `85%`; never 0 or all of it unless it is."""
    if part < 0.01:
        return "under 1%"
    return f"{min(part, 0.99):.0%}" if part < 1 else "all"


def tiers(spent: Mapping[str, Any]) -> str:
    """`flex 1,950 calls $1.20 (saved $1.20), standard 50 calls $0.06 (50 in place of a cheaper tier)`; empty without
    tiers.
    """
    return ", ".join(_tier(name, use) for name, use in spent.get("tiers", {}).items())


def _tier(name: str, use: Mapping[str, Any]) -> str:
    notes = [f"saved {money(use['saved_usd'])}"] if use.get("saved_usd") else []
    notes += [f"{use['moved']:,} in place of a cheaper tier"] if use.get("moved") else []
    about = f" ({', '.join(notes)})" if notes else ""
    return f"{name} {count(use['calls'], 'call')} {money(use['cost_usd'])}{about}"


def size(size_bytes: int) -> str:
    """`512 bytes`, `12.3 kB`, `4.5 MB`."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    amount, units = size_bytes / 1000, ["kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.1f} {units[0]}"


def rate(rows_per_s: float) -> str:
    """Rows per unit of time with two or three digits: `1,380/s`, `44/s`, `4.4/s`, `24/min`, `5.2/h`."""
    per, unit = rows_per_s, "s"
    if 0 < rows_per_s < 1:
        per, unit = (rows_per_s * 60, "min") if rows_per_s * 60 >= 1 else (rows_per_s * 3600, "h")
    if per >= 999.5:
        return f"{float(f'{per:.3g}'):,.0f}/{unit}"
    return f"{per:.0f}/{unit}" if per >= 9.95 or not per else f"{per:.1f}/{unit}"


def local_minute(seconds: float) -> str:
    """A Unix time as `2026-11-30 22:45`, in the local time zone."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def in_words(forecast: "Forecast") -> str:
    """A canary's forecast as a line."""
    cost = forecast.cost_usd
    parts = (
        "cost unknown" if cost is None else f"{money(cost.mean)} (90 %: {_between(cost, money)})",
        f"{duration(forecast.duration_s.mean)} (90 %: {_between(forecast.duration_s, duration)})",
        f"{_share(forecast.failures.mean)} fail (90 %: {_between(forecast.failures, _share)})",
    )
    return f"forecast for {forecast.rows:,} rows, from {forecast.sample:,} of them: {' · '.join(parts)}"


def _share(share: float) -> str:
    return f"{share:.1%}"


def _between(interval: "Interval", words: Callable[[float], str]) -> str:
    if interval.high == float("inf"):
        return f"at least {words(interval.low)}; a single row does not tell more"
    return f"{words(interval.low)} to {words(interval.high)}"


def shared_calls(number: int) -> str:
    """How many calls of tools were not made, since an equal one was."""
    return f"{count(number, 'call')} of tools saved: rows shared the results of equal ones"


def shortened(text: str, most_chars: int) -> str:
    """The beginning of `text`, with … where it is cut off."""
    return text if len(text) <= most_chars else text[:most_chars] + "…"
