"""What litellm's table knows of models beside prices: which speak the Responses API only, and which a slip may mean."""

import re
from collections.abc import Mapping
from typing import Any, Final

from crewrun.errors import CallError, ModelNotFound, ModelRefused, nearest
from crewrun.llm.placement import is_own_address
from crewrun.llm.prices.table import chat_models, table_entry
from crewrun.llm.providers import OFFLINE
from crewrun.llm.transports.error_body import compact
from crewrun.messages import Endpoint

# Users choose the names there: deployments, inference profiles, repositories, whatever a server has loaded.
_NAMED_BY_USERS: Final = (
    *("azure", "bedrock", "sagemaker", "databricks", "huggingface", "replicate", "predibase", "baseten", "ollama"),
    *("hosted_vllm", "lm_studio", "litellm_proxy", "custom", "openai_like", "vertex_ai", "watsonx", "fireworks_ai"),
)
# What tells versions of a model apart: numbers, dates, and words for the newest.
_VERSION: Final = re.compile(r"[-.:]?(?:\d[\d.]*|latest|preview|beta|exp)(?![a-z])")


def check_speaks_chat(endpoint: Endpoint) -> None:
    """Raise ModelRefused for a model that its provider serves over the Responses API only.

    litellm translates for its transport, and a server of one's own may have any name.
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
    """The known model of the same provider whose name `endpoint`'s may be a slip of. None also for names that users
    choose, addresses of their own, and, unless the provider has said that it has no such model, new versions.
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


def _is_version_of(model: str, other: str) -> bool:
    """Whether two names are of versions of one model, and not two spellings of one version."""
    return _VERSION.sub("", model) == _VERSION.sub("", other) and compact(model) != compact(other)


def with_slip(error: CallError, endpoint: Endpoint) -> CallError:
    """`error`, with the nearest known model where the provider says that it has no such one."""
    near = slip(endpoint, is_known_wrong=True) if isinstance(error, ModelNotFound) else None
    if near is not None:
        error.args = (f"{error} (did you mean {near!r}?)",)
    return error


def _entry(endpoint: Endpoint) -> Mapping[str, Any] | None:
    """What the table says of the model as this provider has it."""
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
