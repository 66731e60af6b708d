"""Keys of a model that older CrewAI scaffolds write on the agent itself: `model`, `base_url`, `temperature`, …"""

from collections.abc import Mapping
from typing import Any, NamedTuple

# `max_tokens` is a field of CrewAI's agents too; it counts for the model where that is named beside it.
_KEYS = ("model", "provider", "base_url", "api_base", "api_key", "temperature", "top_p", "max_tokens")


class ModelKeys(NamedTuple):
    """An agent's `llm` made of such keys, and which ones went into it; none where there is no model to have them."""

    llm: Any
    taken: tuple[str, ...] = ()


def model_keys(fields: Mapping[str, Any]) -> ModelKeys:
    """What the keys in an agent's `fields` make of its `llm`.

    An `llm` that is a name or a mapping gets what it does not have; one that is an object stays as it is.
    """
    llm = fields.get("llm")
    given = {key: fields[key] for key in _KEYS if fields.get(key) is not None}
    if llm is None and isinstance(given.get("model"), str):
        return ModelKeys(given, tuple(given))
    given.pop("model", None)
    given.pop("max_tokens", None)
    own = {"model": llm} if isinstance(llm, str) and llm.strip() else llm
    if not given or not isinstance(own, Mapping):
        return ModelKeys(llm)
    return ModelKeys({**given, **own}, tuple(given))


def told(taken: tuple[str, ...]) -> str:
    """What is said of keys that went into the llm."""
    names, is_one = " and ".join(map(repr, taken)), len(taken) == 1
    return f"{names} {'is' if is_one else 'are'} taken for the llm's; CrewAI leaves {'it' if is_one else 'them'} out"
