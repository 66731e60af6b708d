"""The keys of litellm's price table, which may include a tier and a prompt size. `entry` gives them meaning."""

import re
from collections.abc import Mapping
from typing import Any, Final

Entry = Mapping[str, Any]

BATCH: Final = "_batches"
INPUT, OUTPUT = "input_cost_per_token", "output_cost_per_token"
READ, WRITE = "cache_read_input_token_cost", "cache_creation_input_token_cost"
WRITE_1H, WRITE_12H = f"{WRITE}_above_1hr", f"{WRITE}_above_12hr"
READ_EXPLICIT, READ_HIT = "explicit_cache_read_input_token_cost", "input_cost_per_token_cache_hit"
REASONING = "output_cost_per_reasoning_token"
AUDIO, IMAGE, VIDEO = (f"input_cost_per_{medium}_token" for medium in ("audio", "image", "video"))
AUDIO_OUT, IMAGE_OUT, VIDEO_OUT = (f"output_cost_per_{medium}_token" for medium in ("audio", "image", "video"))
READ_AUDIO, READ_IMAGE = "cache_read_input_audio_token_cost", "cache_read_input_image_token_cost"
_BANDED: Final = (INPUT, OUTPUT, READ, WRITE, WRITE_1H, WRITE_12H, AUDIO)
_ABOVE: Final = re.compile(r"(.+)_above_(\d+)(k?)_tokens(_[a-z]+)?")
# A threshold belongs to the higher band at xAI (https://docs.x.ai/docs/models), elsewhere to the lower one.
_INCLUSIVE: Final = frozenset({"xai"})


def bounds(entry: Entry, suffix: str) -> list[tuple[int, list[str]]]:
    """The prompt sizes at which a tier's bands start, each with the key parts of all thresholds below it."""
    starts: list[tuple[int, list[str]]] = [(0, [])]
    is_exclusive = entry.get("litellm_provider") not in _INCLUSIVE
    for tokens, spellings in _thresholds(entry, suffix).items():
        starts.append((tokens + is_exclusive, starts[-1][1] + spellings))
    return starts


def _thresholds(entry: Entry, suffix: str) -> dict[int, list[str]]:
    """The prompt sizes, in tokens and ascending, above which a tier has other prices, with their spellings in keys."""
    sizes: dict[int, list[str]] = {}
    for name, value in entry.items():
        parts = _ABOVE.fullmatch(name)
        if parts is None or value is None or (parts[4] or "") not in ("", suffix):
            continue
        if parts[1] in _BANDED:
            spelling = f"_above_{parts[2]}{parts[3]}_tokens"
            spellings = sizes.setdefault(int(parts[2]) * (1000 if parts[3] else 1), [])
            spellings += [] if spelling in spellings else [spelling]
    return dict(sorted(sizes.items()))


def number(value: Any) -> float | None:
    """A price, which may be a string such as "3e-7"; None if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def first(value: float | None, other: float) -> float:
    """`value`, or `other` if that is None."""
    return other if value is None else value
