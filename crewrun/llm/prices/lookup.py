"""Finds a model's entry in the price table under any of the names that users and providers use for it.

A model of the same name at another provider has another price, so only entries of the same provider count. `entry`
reads what an entry says.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from crewrun.llm.prices.table import names_like, table_entry
from crewrun.messages import Endpoint

# The table's other names for a provider.
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
# litellm's routes to a Bedrock model, and the prefixes of cross-region inference profiles:
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
_ROUTE: Final = re.compile(r"(?:converse|converse_like|invoke|chat_completions|mantle)/")
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d/")
_PROFILE: Final = re.compile(r"(?:us|eu|apac|jp|au|ca|global|us-gov)\.(?=\w+\.)")
_WINDOW: Final = re.compile(r"(:\d+):\d+k$")  # `…-v2:0:51k`, a context size
# How names express a version: a full date or, at Google, three digits. A name with `latest` is not treated as a
# version, since it may be a different model from the one without that word.
_DATE: Final = r"(?:-20\d\d-[01]\d-[0-3]\d|[-@]20\d\d[01]\d[0-3]\d)"
_DATED: Final = re.compile(_DATE + "$")
_NUMBERED: Final = re.compile(r"-\d{3}$")


def entry_of(endpoint: Endpoint) -> Mapping[str, Any] | None:
    """The table's entry for `endpoint`'s `base_model` if it has one, else for its model."""
    base = endpoint.base_model
    if base is None:
        return _find(endpoint.provider, endpoint.model)
    # The user has said which model it is, so the entry may be another provider's.
    return _find(endpoint.provider, base.removeprefix(f"{endpoint.provider}/")) or table_entry(base)


def _find(provider: str, model: str) -> Mapping[str, Any] | None:
    names = list(_names(provider, model))
    for name in names:
        if entry := _exactly(provider, name):
            return entry
    for name in names:
        undated = _DATED.sub("", name)
        if provider == "gemini" or provider.startswith("vertex_ai"):
            undated = _NUMBERED.sub("", undated)
        if undated != name and (entry := _exactly(provider, undated)):
            return entry
    return next((entry for name in names if (entry := _only_dated(provider, name))), None)


def _exactly(provider: str, name: str) -> Mapping[str, Any] | None:
    if entry := table_entry(f"{provider}/{name}"):
        return entry
    entry = table_entry(name)
    return entry if entry is not None and _sells(provider, entry) else None


def _only_dated(provider: str, name: str) -> Mapping[str, Any] | None:
    """The entry for a name that the table has only with dates; None if those have different prices."""
    entries = [
        entry
        for dated in names_like(rf"(?:{re.escape(provider)}/)?{re.escape(name)}{_DATE}")
        if (entry := table_entry(dated)) is not None and _sells(provider, entry)
    ]
    prices = [{key: value for key, value in entry.items() if "cost" in key or "pric" in key} for entry in entries]
    return entries[0] if entries and all(one == prices[0] for one in prices) else None


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
    """The names for a model id, or the end of an ARN: without litellm's route, then without region, then without
    profile.
    """
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
