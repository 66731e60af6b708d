"""The price table that litellm ships, read as data, without importing litellm.

The table is a JSON file of 3 MB with one object per model; a batch needs one or two of them, so only those are parsed.
`lookup` finds a model's entry, and `entry` reads it.
"""

import json
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_TABLE = "model_prices_and_context_window_backup.json"
_OBJECT = re.compile(r"\s*:\s*(?=\{)")


@lru_cache(maxsize=1024)
def table_entry(name: str) -> dict[str, Any] | None:
    """The entry of litellm's table under exactly this `name`, or the one that the name is an alias of."""
    text, key = _table_text(), json.dumps(name)
    at = text.find(key)
    while at >= 0:
        if begin := _OBJECT.match(text, at + len(key)):
            entry = json.JSONDecoder().raw_decode(text, begin.end())[0]
            if "litellm_provider" in entry:
                return dict(entry)
            if isinstance(other := entry.get("alias_of"), str) and other != name:
                return table_entry(other)
        at = text.find(key, at + 1)
    return None


@lru_cache(maxsize=128)
def names_like(pattern: str) -> tuple[str, ...]:
    """The names of models in the table that match `pattern` as a whole."""
    names = re.findall(rf'"({pattern})"\s*:\s*\{{', _table_text())
    return tuple(name for name in names if table_entry(name) is not None)


@lru_cache(maxsize=1)
def known_providers() -> frozenset[str]:
    """Every provider in litellm's table."""
    return frozenset(re.findall(r'"litellm_provider"\s*:\s*"([^"]+)"', _table_text()))


def chat_models(provider: str) -> tuple[str, ...]:
    """The chat models of `provider` in the table, by the provider's own names."""
    return _chat_models().get(provider, ())


@lru_cache(maxsize=1)
def _chat_models() -> dict[str, tuple[str, ...]]:
    """Those of all providers: parsing the table takes 30 ms."""
    models: dict[str, list[str]] = {}
    for name, entry in json.loads(_table_text() or "{}").items():
        provider = entry.get("litellm_provider")
        if entry.get("mode") == "chat" and isinstance(provider, str):
            models.setdefault(provider, []).append(name.removeprefix(f"{provider}/"))
    return {provider: tuple(names) for provider, names in models.items()}


@lru_cache(maxsize=1)
def _table_text() -> str:
    spec = find_spec("litellm")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, _TABLE)
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""
