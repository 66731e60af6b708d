"""Which entry of the price table is that of a model, under the names that users and providers have for it.

A namesake at another provider has another price, so only what the same provider sells is taken. What an entry means is
in `price_entry`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from crewrun.llm.prices.table import names_like, table_entry
from crewrun.messages import Endpoint

# Other words of the table for a provider.
_OTHER_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "bedrock": frozenset({"bedrock_converse"}),
    "bedrock_converse": frozenset({"bedrock"}),
    "cohere": frozenset({"cohere_chat"}),
    "cohere_chat": frozenset({"cohere"}),
    "azure": frozenset({"azure_text"}),
    "openai": frozenset({"text-completion-openai"}),
    "text-completion-openai": frozenset({"openai"}),
    "codestral": frozenset({"text-completion-codestral"}),
}
# The ways to a model of Bedrock that litellm has, and what a cross-region inference profile begins with:
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
_ROUTE: Final = re.compile(r"(?:converse|converse_like|invoke|chat_completions|mantle)/")
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d/")
_PROFILE: Final = re.compile(r"(?:us|eu|apac|jp|au|ca|global|us-gov)\.(?=\w+\.)")
_WINDOW: Final = re.compile(r"(:\d+):\d+k$")  # `…-v2:0:51k`, a size of the context
# How names say a version: a whole date, and at Google a number of three digits. What is called latest may be another
# model than the one without that word.
_DATE: Final = r"(?:-20\d\d-[01]\d-[0-3]\d|[-@]20\d\d[01]\d[0-3]\d)"
_DATED: Final = re.compile(_DATE + "$")
_NUMBERED: Final = re.compile(r"-\d{3}$")


def entry_of(endpoint: Endpoint) -> Mapping[str, Any] | None:
    """What the table says of `endpoint`'s model, of its `base_model` where it has one."""
    base = endpoint.base_model
    if base is None:
        return _find(endpoint.provider, endpoint.model)
    # The user says which model it is, so it may be in the table as another provider's.
    return _find(endpoint.provider, base.removeprefix(f"{endpoint.provider}/")) or table_entry(base)


def _find(provider: str, model: str) -> Mapping[str, Any] | None:
    names = list(_names(provider, model))
    for name in names:
        if found := _exactly(provider, name):
            return found
    for name in names:
        undated = _DATED.sub("", name)
        if provider == "gemini" or provider.startswith("vertex_ai"):
            undated = _NUMBERED.sub("", undated)
        if undated != name and (found := _exactly(provider, undated)):
            return found
    return next((found for name in names if (found := _only_dated(provider, name))), None)


def _exactly(provider: str, name: str) -> Mapping[str, Any] | None:
    if entry := table_entry(f"{provider}/{name}"):
        return entry
    entry = table_entry(name)
    return entry if entry is not None and _sells(provider, entry) else None


def _only_dated(provider: str, name: str) -> Mapping[str, Any] | None:
    """The entry of a name that the table has with a date only; None where the dates have different prices."""
    found = [
        entry
        for dated in names_like(rf"(?:{re.escape(provider)}/)?{re.escape(name)}{_DATE}")
        if (entry := table_entry(dated)) is not None and _sells(provider, entry)
    ]
    prices = [{key: value for key, value in entry.items() if "cost" in key or "pric" in key} for entry in found]
    return found[0] if found and all(one == prices[0] for one in prices) else None


def _sells(provider: str, entry: Mapping[str, Any]) -> bool:
    seller = entry["litellm_provider"]
    if provider.startswith("vertex_ai"):
        return str(seller).startswith("vertex_ai")
    return seller == provider or seller in _OTHER_WORDS.get(provider, ())


def _names(provider: str, model: str) -> Iterator[str]:
    """The names that `model` may have in the table, the most exact first."""
    yield model
    if model.startswith("ft:"):
        # `ft:gpt-4o-mini-2024-07-18:organisation:suffix:id`
        yield ":".join(model.split(":")[:2])
    elif provider.startswith("bedrock"):
        yield from _names_at_bedrock(model)
    elif provider.startswith("vertex_ai"):
        yield model.rpartition("publishers/")[2].partition("/models/")[2] or f"{model}@latest"


def _names_at_bedrock(model: str) -> Iterator[str]:
    """Without the way, with the region and without, then without the profile, of an id or what an ARN ends with."""
    while route := _ROUTE.match(model):
        model = model[route.end() :]
    if model.startswith("arn:"):
        model = model.rpartition("/")[2]
    model = _WINDOW.sub(r"\1", model)
    yield model
    model = _REGION.sub("", model, count=1)
    yield model
    if profile := _PROFILE.match(model):
        yield model[profile.end() :]
