"""Parses amounts as users write them for a batch: times, sizes, limits and prices. UsageErrors name the flag."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import Any

from crewrun.errors import UsageError
from crewrun.llm.prices.price import Price, flat_price

_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0)
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT]?[bB]?)", re.ASCII)
_SIZES = {"": 1.0, "B": 1.0, "K": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12}
_PER_MILLION = 1e6
_LAST_PORT = 65_535


def seconds(flag: str, raw: str | float) -> float:
    """A duration: `90`, `90s`, `5m`, `1h30m`, `2d`; without a unit it is seconds."""
    value = _span_s(raw)
    if value is None:
        raise UsageError(f"{flag} {raw!r}: write it as 90s, 5m, 1h30m or 2d")
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{flag} {raw!r}: must be a time from 0 up")
    return value


def address(flag: str, raw: str | int) -> tuple[str, int]:
    """A host and a port: `9464` on this machine only, `0.0.0.0:9464`, `[::1]:9464`."""
    host, colon, port = str(raw).strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdigit() and int(port) <= _LAST_PORT) or (colon and not host):
        raise UsageError(f"{flag} {raw!r}: write a port, such as 9464, or a host and a port, such as 0.0.0.0:9464")
    return host or "127.0.0.1", int(port)


def _span_s(raw: str | float) -> float | None:
    text = str(raw).strip().lower().replace(" ", "")
    try:
        return float(text)
    except ValueError:
        match = _SPAN.fullmatch(text)
        if match is None or not text:
            return None
        return sum(float(n) * unit for n, unit in zip(match.groups(), _UNITS_S, strict=True) if n)


def seconds_until(flag: str, raw: str | float, now: datetime) -> float:
    """Seconds until a deadline: a duration from now, the next time that it is `06:30`, or an ISO 8601 date and time.

    `now` has a time zone; a date without one is in that zone.
    """
    text = str(raw).strip()
    try:
        if _CLOCK.fullmatch(text):
            at = datetime.combine(now.date(), time.fromisoformat(text.rjust(5, "0")), now.tzinfo)
            at += timedelta(days=1) if at <= now else timedelta()
        elif re.match(r"\d{4}-\d\d", text):
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo is not None else at.replace(tzinfo=now.tzinfo)
        elif _span_s(raw) is None:
            raise ValueError(text)
        else:
            left_s = seconds(flag, raw)
            if left_s == 0:
                raise UsageError(f"{flag} {raw!r}: leaves no time")
            return left_s
    except (ValueError, OverflowError):
        raise UsageError(f"{flag} {raw!r}: is not a time; write it as 6h, 06:30 or 2026-01-31T06:30") from None
    if at <= now:
        raise UsageError(f"{flag} {raw!r}: is in the past; it is {now.isoformat(timespec='seconds')}")
    return (at - now).total_seconds()


def per_model(flag: str, raw: Any) -> dict[str, int]:
    """Limits by model: `N` for every model, `MODEL=N` for one, or several of these. The key of the former is ""."""
    limits: dict[str, int] = {}
    for model, value in _pairs(raw):
        try:
            number = float(value)
            limits[model] = int(number)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not number >= 1 or number != limits[model]:
            raise UsageError(f"{flag} {_shown(model, value)}: must be a whole number from 1 up, or MODEL=N") from None
    return limits


def prices(flag: str, raw: Any) -> dict[str, Price]:
    """Prices in US dollars per million tokens: `MODEL=IN,OUT`, or with prices of cache reads and writes
    `MODEL=IN,OUT,CACHED,WRITTEN`.
    """
    by_model: dict[str, Price] = {}
    for model, value in _pairs(raw):
        fields = value if isinstance(value, list | tuple) else str(value).split(",")
        try:
            amounts = [float(field) / _PER_MILLION for field in fields]
        except (TypeError, ValueError):
            amounts = []
        if not model or len(amounts) not in (2, 3, 4) or not all(math.isfinite(a) and a >= 0 for a in amounts):
            raise UsageError(
                f"{flag} {_shown(model, value)}: write it as MODEL=IN,OUT, US dollars per million tokens, "
                "with the prices of cache reads and cache writes behind them if they have their own: "
                "gpt-4.1-mini=0.4,1.6,0.1,0.5"
            )
        by_model[model] = flat_price(*amounts)
    return by_model


def dollars(flag: str, raw: str | float) -> float:
    """An amount of US dollars above 0, with or without the sign."""
    try:
        value = float(str(raw).strip().removeprefix("$").removesuffix("USD").strip())
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{flag} {raw!r}: must be an amount of US dollars above 0, such as 2.50")
    return value


def size_bytes(flag: str, raw: str | float) -> int:
    """A size: `500MB`, `2GB`; without a unit it is bytes. At least a megabyte."""
    match = _SIZE.fullmatch(str(raw).strip().replace(" ", ""))
    size = float(match[1]) * _SIZES[match[2].upper()] if match else 0.0
    if not 1e6 <= size <= 1e15:
        raise UsageError(f"{flag} {raw!r}: write it as 500MB or 2GB; at least 1MB")
    return int(size)


def _pairs(raw: Any) -> Iterable[tuple[str, Any]]:
    """(model, value) of each entry in a mapping, or in one or several texts."""
    if raw is None:
        return
    if isinstance(raw, Mapping):
        yield from ((str(model), value) for model, value in raw.items())
        return
    for entry in raw if isinstance(raw, list | tuple) else [raw]:
        if isinstance(entry, str) and entry.partition("=")[0].strip() and "=" in entry:
            model, _, value = entry.rpartition("=")
            yield model.strip(), value.strip()
        else:
            yield "", entry


def _shown(model: str, value: Any) -> str:
    return repr(f"{model}={value}" if model else str(value))
