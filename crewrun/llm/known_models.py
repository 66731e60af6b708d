"""What litellm's table says about models besides prices: which support only the Responses API, and what a misspelt name
probably means.
"""

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any, Final

from crewrun.errors import CallError, ModelNotFound, ModelRefused, nearest
from crewrun.llm.placement import is_own_address
from crewrun.llm.prices.table import chat_models, table_entry
from crewrun.llm.providers import OFFLINE, PROVIDERS, maker_of
from crewrun.llm.transports.error_body import compact
from crewrun.messages import Endpoint

# Providers whose model names are chosen by users: deployments, inference profiles, repositories, local models.
_NAMED_BY_USERS: Final = (
    *("azure", "bedrock", "sagemaker", "databricks", "huggingface", "replicate", "predibase", "baseten", "ollama"),
    *("hosted_vllm", "lm_studio", "litellm_proxy", "custom", "openai_like", "vertex_ai", "watsonx", "fireworks_ai"),
)
_UNKNOWN: Final = "litellm's table has no such model"
# How near a model of another provider must be. With the 0.6 of difflib most short names are near something.
_ELSEWHERE: Final = 0.75
# What distinguishes versions of a model: numbers, dates, and words for the newest.
_VERSION: Final = re.compile(r"[-.:]?(?:\d[\d.]*|latest|preview|beta|exp)(?![a-z])")


def check_speaks_chat(endpoint: Endpoint) -> None:
    """Raise ModelRefused for a model that its provider serves over the Responses API only.

    The litellm transport is exempt, since litellm translates, and so are the user's own servers, which may use any
    name.
    """
    if endpoint.transport_name != "direct" or not is_own_address(endpoint.provider, endpoint.base_url):
        return
    entry = _entry(endpoint)
    if entry is not None and _is_responses_only(entry):
        raise ModelRefused(
            f"model {endpoint.model!r}: {endpoint.provider} serves it over the Responses API only, which crewrun does "
            "not speak; take a model that speaks chat completions, such as gpt-5 or gpt-4.1, or set base_url to a "
            "server that translates, such as LiteLLM's proxy"
        )


def slip(endpoint: Endpoint, *, is_known_wrong: bool = False) -> str | None:
    """The provider's known model that `endpoint`'s model may be a misspelling of, or None.

    None also for names that users choose and for their own servers. A new version of a known model counts as misspelt
    only if the provider has said that it has no such model (`is_known_wrong`).
    """
    if endpoint.transport_name in (OFFLINE, "custom") or endpoint.provider.startswith(_NAMED_BY_USERS):
        return None
    model = endpoint.model
    if not is_own_address(endpoint.provider, endpoint.base_url) or model.startswith("ft:") or _entry(endpoint):
        return None
    near = nearest(model, [*chat_models(endpoint.provider), OFFLINE])
    if near is None or (not is_known_wrong and _is_version_of(near, model)):
        return None
    return near


def name_hint(endpoint: Endpoint) -> str | None:
    """What a name that is in no table probably means, in words; None for a name that is known or may be new.

    A name that says nothing of its provider is asked of OpenAI, so for one that is not OpenAI's the other providers'
    models are looked at too.
    """
    near = slip(endpoint)
    is_openais = endpoint.provider == "openai" and is_own_address("openai", endpoint.base_url)
    if not is_openais or maker_of(endpoint.model) is not None or _entry(endpoint) is not None:
        return None if near is None else f"{endpoint.name}: {_UNKNOWN}; did you mean {near!r}?"
    near = _nearer(endpoint.model, near, _elsewhere(endpoint.model))
    advice = f"did you mean {near!r}?" if near is not None else "a server of your own needs a base_url"
    return f"{endpoint.name}: {_UNKNOWN}, and OpenAI is asked for it; {advice}"


def _elsewhere(model: str) -> str | None:
    """The nearest model of another well-known provider, with its provider; of several that with the shortest name."""
    by_name: dict[str, list[str]] = {}
    for provider in (*PROVIDERS, "anthropic", "gemini"):
        for name in chat_models(provider) if provider != "openai" else ():
            by_name.setdefault(name.rpartition("/")[2], []).append(f"{provider}/{name}")
    near = nearest(model, list(by_name), at_least=_ELSEWHERE)
    return min(by_name[near], key=len) if near is not None else None


def _nearer(model: str, *names: str | None) -> str | None:
    """The one of `names` whose last part is the most like `model`."""
    likeness = {name: SequenceMatcher(None, model, name.rpartition("/")[2]).ratio() for name in names if name}
    return max(likeness, key=likeness.__getitem__, default=None)


def _is_version_of(model: str, other: str) -> bool:
    """Whether two names are versions of one model, as opposed to two spellings of the same version."""
    return _VERSION.sub("", model) == _VERSION.sub("", other) and compact(model) != compact(other)


def with_slip(error: CallError, endpoint: Endpoint) -> CallError:
    """`error`, with a suggestion of the nearest known model if the provider says that there is no such model."""
    near = slip(endpoint, is_known_wrong=True) if isinstance(error, ModelNotFound) else None
    if near is not None:
        error.args = (f"{error} (did you mean {near!r}?)",)
    return error


def _entry(endpoint: Endpoint) -> Mapping[str, Any] | None:
    """The table's entry for the model at this provider."""
    for name in (endpoint.name, endpoint.model):
        entry = table_entry(name)
        if entry is not None and entry["litellm_provider"] == endpoint.provider:
            return entry
    return None


def _is_responses_only(entry: Mapping[str, Any]) -> bool:
    served = entry.get("supported_endpoints")
    if isinstance(served, list) and served:
        return not any("chat" in str(address) for address in served) and any("responses" in str(a) for a in served)
    return entry.get("mode") == "responses"
