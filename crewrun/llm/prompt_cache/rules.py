"""`CacheRules`: how the provider of an endpoint caches prompts, and what requests have to say to it.

Minimums and prices come from litellm's table. How the providers' caches work:
https://developers.openai.com/api/docs/guides/prompt-caching,
https://platform.claude.com/docs/en/build-with-claude/prompt-caching,
https://learn.microsoft.com/azure/ai-foundry/openai/how-to/prompt-caching,
https://docs.mistral.ai/studio-api/conversations/advanced/prompt-caching,
https://openrouter.ai/docs/features/prompt-caching
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import urlsplit

from crewrun.llm.prices.lookup import entry_of
from crewrun.llm.prices.price import BATCH, Price
from crewrun.messages import CacheMarks, Endpoint, PromptCacheUse

# Of models for which the table does not say it; OpenAI's caches begin there.
_LEAST_TOKENS: Final = 1024
# A prefix is only taken to be long enough if it is by this factor: our count of its tokens is an estimate.
_MARGIN: Final = 1.1
# The shortest life of an unused cache: Anthropic's, and OpenAI's before gpt-5.6. Later ones keep it six times as long.
_LIFE_S: Final = 300.0
_LONG_LIFE_S: Final = 1800.0
# Providers that litellm calls Claude through; it makes their form of a breakpoint of Anthropic's.
_OF_CLAUDE: Final = frozenset({"anthropic", "azure_ai", "bedrock", "bedrock_converse", "vertex_ai"})
_OPENAI_HOST: Final = "api.openai.com"  # and regions, such as eu.api.openai.com
_MISTRAL_HOST: Final = "api.mistral.ai"
_OPENROUTER_HOST: Final = "openrouter.ai"  # it passes Anthropic's breakpoints on
# What users say to a cache themselves in an llm; then nothing of ours is added.
_OWN: Final = frozenset(
    {"prompt_cache_options", "prompt_cache_retention", "cache_control", "cache_control_injection_points"}
)
_OWN_KEY: Final = "prompt_cache_key"


@dataclass(frozen=True, slots=True)
class CacheRules:
    """How prompts of an endpoint are cached.

    `scope` is a hash of what shares a cache: model, address and key. A prefix of `least_bytes`, about four to a token,
    is cached for `life_s` after its last use. With `marks`, only what ends at a breakpoint of that form is cached, else
    every prompt by itself; `sends_key` says that requests name their prefix in `prompt_cache_key`. With
    `writes_everything` the provider writes whole prompts to its cache, at a price, unless it is told not to. With
    `marks_turns` a breakpoint may be behind any turn.
    """

    scope: bytes
    least_bytes: int
    life_s: float = _LIFE_S
    marks: CacheMarks = ""
    sends_key: bool = False
    writes_everything: bool = False
    marks_turns: bool = False


def rules_of(endpoint: Endpoint, price: Price | None, use: PromptCacheUse) -> CacheRules | None:
    """The rules for `endpoint`; None if there is no cache, or if nothing is cheaper by it as far as is known.

    With `always` a model of unknown price counts as cached, and any server that the direct transport calls is taken to
    have OpenAI's parameters.
    """
    if use == "never" or endpoint.transport_name not in ("direct", "litellm"):
        return None
    if use == "auto" and not (price is not None and price.is_cheaper_cached):
        return None
    entry = entry_of(endpoint) or {}
    is_openai = use == "always" or _is_at(endpoint, _OPENAI_HOST)
    has_breakpoints = is_openai and endpoint.provider == "openai" and _takes_breakpoints(entry)
    is_told = not _OWN.isdisjoint(endpoint.fields)
    marks: CacheMarks = ""
    if not is_told and has_breakpoints:
        marks = "openai"
    elif not is_told and _is_claude(endpoint, entry):
        marks = "anthropic"
    return CacheRules(
        scope=blake2b(
            "\0".join((endpoint.provider, endpoint.model, endpoint.base_url or "", endpoint.api_key or "")).encode(
                "utf-8", "surrogatepass"
            ),
            digest_size=16,
        ).digest(),
        least_bytes=round(_tokens(entry) * _MARGIN) * 4,
        life_s=_LONG_LIFE_S if has_breakpoints else _LIFE_S,
        marks=marks,
        sends_key=_OWN_KEY not in endpoint.fields and _takes_key(endpoint, use),
        writes_everything=marks == "openai",
        # In batch jobs the next turn comes when nothing is left in the cache.
        marks_turns=marks == "anthropic" and endpoint.transport_name == "litellm" and endpoint.tier != BATCH,
    )


def _tokens(entry: Mapping[str, Any]) -> int:
    least = entry.get("prompt_cache_min_tokens")
    return int(least) if isinstance(least, int | float) and least > 0 else _LEAST_TOKENS


def _takes_breakpoints(entry: Mapping[str, Any]) -> bool:
    return entry.get("supports_prompt_cache_breakpoint") is True


def _is_claude(endpoint: Endpoint, entry: Mapping[str, Any]) -> bool:
    """Whether Claude is called at a place that takes Anthropic's breakpoints."""
    if "claude" not in (endpoint.base_model or endpoint.model).lower():
        return False
    if endpoint.transport_name == "direct":
        return endpoint.provider == "openrouter" and _is_at(endpoint, _OPENROUTER_HOST)
    is_known = endpoint.provider in _OF_CLAUDE and entry.get("supports_prompt_caching") is True
    return endpoint.provider == "anthropic" or is_known


def _takes_key(endpoint: Endpoint, use: PromptCacheUse) -> bool:
    """Whether the server has `prompt_cache_key`; others may refuse a parameter that they do not know."""
    if endpoint.transport_name == "direct":
        return use == "always" or _is_at(endpoint, _OPENAI_HOST) or _is_at(endpoint, _MISTRAL_HOST)
    return endpoint.provider == "azure"


def _is_at(endpoint: Endpoint, host: str) -> bool:
    name = urlsplit(endpoint.base_url or "").hostname or ""
    return name == host or name.endswith(f".{host}")
