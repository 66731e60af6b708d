"""Keys of a model that older CrewAI scaffolds put on the agent itself: `model`, `base_url`, `temperature`, …"""

from collections.abc import Mapping
from typing import Any, NamedTuple

# `max_tokens` is a field of CrewAI's agents too; it goes to the llm only together with `model`.
_KEYS = ("model", "provider", "base_url", "api_base", "api_key", "temperature", "top_p", "max_tokens")


class ModelKeys(NamedTuple):
    """An agent's `llm` with such keys merged in, and which keys those are; none if there is no model."""

    llm: Any
    keys: tuple[str, ...] = ()


def model_keys(fields: Mapping[str, Any]) -> ModelKeys:
    """Merge such keys in an agent's `fields` into its `llm`.

    An `llm` that is a name or a mapping gets those that it lacks; an object stays as it is.
    """
    llm = fields.get("llm")
    values = {key: fields[key] for key in _KEYS if fields.get(key) is not None}
    if llm is None and isinstance(values.get("model"), str):
        return ModelKeys(values, tuple(values))
    values.pop("model", None)
    values.pop("max_tokens", None)
    own = {"model": llm} if isinstance(llm, str) and llm.strip() else llm
    if not values or not isinstance(own, Mapping):
        return ModelKeys(llm)
    return ModelKeys({**values, **own}, tuple(values))


def described(keys: tuple[str, ...]) -> str:
    """The warning about keys that went into the llm."""
    names, is_one = " and ".join(map(repr, keys)), len(keys) == 1
    return f"{names} {'is' if is_one else 'are'} used for the llm; CrewAI ignores {'it' if is_one else 'them'}"
