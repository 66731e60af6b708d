"""Providers by name: the well-known endpoints of the direct transport, and the provider that a model name belongs to.

All other providers are called through litellm; `provider_settings` has what they need.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from crewrun.errors import UsageError, nearest, suggest
from crewrun.llm.prices.table import known_providers, table_entry
from crewrun.llm.transports.provider_settings import SERVED

OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Provider:
    """A well-known endpoint of the direct transport: its address, and the variables for its address and key."""

    base_url: str
    key_env: tuple[str, ...] = ()
    base_env: tuple[str, ...] = ()
    local: bool = False  # needs no key


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
    "openrouter": Provider("https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",), ("OPENROUTER_API_BASE",)),
    "groq": Provider("https://api.groq.com/openai/v1", ("GROQ_API_KEY",), ("GROQ_API_BASE",)),
    "deepseek": Provider("https://api.deepseek.com/v1", ("DEEPSEEK_API_KEY",), ("DEEPSEEK_API_BASE",)),
    "together_ai": Provider(
        "https://api.together.xyz/v1",
        ("TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN", "TOGETHER_API_KEY"),
        ("TOGETHER_AI_API_BASE",),
    ),
    "mistral": Provider("https://api.mistral.ai/v1", ("MISTRAL_API_KEY",), ("MISTRAL_API_BASE",)),
    "xai": Provider("https://api.x.ai/v1", ("XAI_API_KEY",), ("XAI_API_BASE",)),
    "fireworks_ai": Provider(
        "https://api.fireworks.ai/inference/v1", ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY"), ()
    ),
    "cerebras": Provider("https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",), ()),
    "ollama": Provider("http://localhost:11434", (), ("OLLAMA_API_BASE", "OLLAMA_BASE_URL", "OLLAMA_HOST"), local=True),
    "hosted_vllm": Provider("http://localhost:8000", ("HOSTED_VLLM_API_KEY",), ("HOSTED_VLLM_API_BASE",), local=True),
    "lm_studio": Provider("http://localhost:1234", ("LM_STUDIO_API_KEY",), ("LM_STUDIO_API_BASE",), local=True),
}
_ALIASES = {"ollama_chat": "ollama", "vllm": "hosted_vllm", "together": "together_ai"}
# Names that reveal their provider; the price table has the others.
_MAKERS = (
    (re.compile(r"(?:ft:)?(?:gpt-|chatgpt-|o[1-9])"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "gemini"),
)
# Prefixes that name a provider even if base_url is set. Other prefixes then count only if litellm's table has them,
# since the user's own server may have models such as `reka/flash`.
_AT_BASE_URL = frozenset({"litellm_proxy", "custom_openai"})


def split_name(name: str, has_base_url: bool, env: Mapping[str, str]) -> tuple[str, str]:
    """Split `name` into the provider and that provider's name for the model.

    A name whose first part is not a provider belongs to the OpenAI-compatible server at base_url.
    """
    prefix, slash, rest = name.partition("/")
    provider = _ALIASES.get(prefix.lower(), prefix.lower())
    is_elsewhere = has_base_url or first_set(PROVIDERS["openai"].base_env, env) is not None
    served = _AT_BASE_URL if is_elsewhere else SERVED
    if slash and rest and (provider in PROVIDERS or provider in served or provider in known_providers()):
        return provider, rest
    if is_elsewhere:
        return "openai", name
    if slash:
        raise UsageError(
            f"model {name!r}: no provider {prefix!r}{suggest(prefix, _all())}; "
            "for a server of your own set base_url or OPENAI_BASE_URL"
        )
    return maker_of(name) or _litellm_name((table_entry(name) or {}).get("litellm_provider", "openai")), name


def maker_of(name: str) -> str | None:
    """The provider that a model's name itself reveals, as `gpt-` does; None if it reveals none."""
    return next((maker for names, maker in _MAKERS if names.match(name)), None)


def provider_named(provider: str, model: str) -> str:
    """The provider that an LLM names separately from its `model`. Raises UsageError if it does not exist."""
    name = provider.strip().lower()
    name = _ALIASES.get(name, name)
    if name not in PROVIDERS and name not in SERVED and name not in known_providers():
        raise UsageError(f"model {model!r}: no provider {provider!r}{suggest(name, _all())}")
    return name


def prefix_of(name: str) -> str:
    """The provider of `name` by its first part alone, which decides whether an address and a key still fit it."""
    prefix, slash, _ = name.partition("/")
    if name.partition("?")[0] == OFFLINE:
        return OFFLINE
    prefix = prefix.lower() if slash else "openai"
    return _ALIASES.get(prefix, prefix)


def check_offline(name: str) -> None:
    """Raise UsageError for a misspelt `offline`: the user wants no real calls, and these would cost money.

    A server's own model of such a name can be written with its provider, as `openai/ofline`.
    """
    model = name.strip().partition("?")[0]
    if model != OFFLINE and "/" not in model and nearest(re.sub(r"[\W_]", "", model), [OFFLINE], at_least=0.8):
        raise UsageError(
            f"model {name!r}: did you mean {OFFLINE!r}? A server's own model of that name is written openai/{name}"
        )


def first_set(names: tuple[str, ...], env: Mapping[str, str]) -> str | None:
    """The value of the first variable that is set."""
    return next((value for name in names if (value := env.get(name, "").strip())), None)


def _litellm_name(provider: str) -> str:
    """The prefix that litellm expects in model names for a provider in its table."""
    if provider.startswith("vertex_ai-"):
        return "vertex_ai"
    return "bedrock" if provider == "bedrock_converse" else provider


def _all() -> list[str]:
    return [*PROVIDERS, *sorted(SERVED | known_providers())]
