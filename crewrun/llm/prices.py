"""What a call costs, from the price table that litellm ships, read as data: litellm itself is not imported.

The table is a JSON file of 3 MB with an object per model; a batch needs one or two of them, so only those are parsed.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crewrun.messages import Endpoint, Usage

_TABLE = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for one token."""

    prompt: float
    cached_prompt: float
    completion: float

    def cost(self, usage: Usage) -> float:
        """The price of `usage`, in US dollars."""
        fresh = max(0, usage.prompt_tokens - usage.cached_prompt_tokens)
        return (
            fresh * self.prompt
            + usage.cached_prompt_tokens * self.cached_prompt
            + usage.completion_tokens * self.completion
        )


FREE = Price(0.0, 0.0, 0.0)


def find_price(endpoint: Endpoint) -> Price | None:
    """The price of `endpoint`'s model, None when nobody published one."""
    if endpoint.lane == "offline":
        return FREE
    entry = table_entry(endpoint.name)
    if entry is None:
        entry = table_entry(endpoint.model)
        if entry is None or entry["litellm_provider"] != endpoint.provider:
            return None  # a namesake elsewhere has another price
    if entry.get("input_cost_per_token") is None:
        return None
    prompt = float(entry["input_cost_per_token"])
    cached = entry.get("cache_read_input_token_cost")
    return Price(
        prompt,
        prompt if cached is None else float(cached),
        float(entry.get("output_cost_per_token") or 0.0),
    )


@lru_cache(maxsize=1024)
def table_entry(name: str) -> dict[str, Any] | None:
    """What litellm's table says of the model `name`, spelled exactly so."""
    text = _table_text()
    found = re.search(rf'"{re.escape(name)}"\s*:\s*(?=\{{)', text)
    if not found:
        return None
    entry = json.JSONDecoder().raw_decode(text, found.end())[0]
    return entry if isinstance(entry, dict) and "litellm_provider" in entry else None


@lru_cache(maxsize=1)
def known_providers() -> frozenset[str]:
    """Every provider that litellm's table names."""
    return frozenset(re.findall(r'"litellm_provider"\s*:\s*"([^"]+)"', _table_text()))


@lru_cache(maxsize=16)
def chat_models(provider: str) -> tuple[str, ...]:
    """The models of `provider` that the table has for chat, as that provider names them."""
    table = json.loads(_table_text() or "{}")
    return tuple(
        name.removeprefix(f"{provider}/")
        for name, entry in table.items()
        if entry.get("litellm_provider") == provider and entry.get("mode") == "chat"
    )


def _table_text() -> str:
    spec = find_spec("litellm")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, _TABLE)
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""
