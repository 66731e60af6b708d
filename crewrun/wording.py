"""Amounts in words: money, time and numbers of things."""

from math import floor, log10

_NO_USD = 1e-9  # smaller amounts are rounding errors of floating-point sums
_CENT_USD = 0.00995  # from here up an amount rounds to a cent or more
_FOUR_DECIMALS_USD = 0.00005  # below, four decimals would show no digit
_SHORT_S = 0.0995  # below, tenths of a second would say 0.0 or 0.1
_DAYS_FROM_H = 48


def money(cost_usd: float | None) -> str:
    """US dollars: whole cents from one cent up, `$1,234.50`; else four decimals, or as many as show a digit."""
    if cost_usd is None:
        return "cost unknown"
    if cost_usd >= _CENT_USD or cost_usd < _NO_USD:
        return f"${cost_usd:,.2f}"
    return f"${cost_usd:.{4 if cost_usd >= _FOUR_DECIMALS_USD else -floor(log10(cost_usd))}f}"


def count(number: int, noun: str) -> str:
    """`1 row`, `1,200 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`3 ms`, `0.9 s`, `45 s`, `3 m 20 s`, `1 h 12 m`, `2 d 5 h`."""
    if seconds < _SHORT_S:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:  # rounds to less than 10.0
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest} s" if minutes else f"{rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} m" if hours < _DAYS_FROM_H else f"{hours // 24} d {hours % 24} h"
