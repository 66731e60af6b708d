"""From a model's name to where its calls go: provider, address, key and lane.

The direct lane takes everything that speaks OpenAI's chat completions: the well-known addresses below and any
`base_url`. What is left goes through litellm. Environment variables are the ones that litellm and OpenAI's client use.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from crewrun.errors import UsageError, suggest
from crewrun.llm.model import LLM
from crewrun.llm.price_table import known_providers, table_entry
from crewrun.messages import Endpoint, ReplySchema

DEFAULT_MODEL = "gpt-4.1-mini"
OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Provider:
    """A well-known endpoint of the direct lane: its address, and the variables that give address and key."""

    base_url: str
    key_env: tuple[str, ...] = ()
    base_env: tuple[str, ...] = ()
    local: bool = False  # runs without a key


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
# Names that say their maker; the price table knows the others.
_MAKERS = (
    (re.compile(r"(?:ft:)?(?:gpt-|chatgpt-|o[1-9])"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "gemini"),
)
# These refuse max_tokens: https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_tokens
_RENAMED_MAX_TOKENS = re.compile(r"(?:ft:)?(?:o[1-9]|gpt-5)")
_LITELLM_ONLY = frozenset({"drop_params", "additional_drop_params", "custom_llm_provider", "allowed_openai_params"})
_REFERENCE = re.compile(r"(?:\$\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)|os\.environ/([A-Za-z_]\w*))")


def resolve(llm: LLM | None, env: Mapping[str, str] = os.environ) -> Endpoint:
    """Where calls of `llm` go; None is the default model, `$MODEL`, `$OPENAI_MODEL_NAME` or gpt-4.1-mini.

    Raises UsageError for an unknown provider, a base_url that is no URL, a key reference that is not set. A missing key
    is `missing_key`'s affair.
    """
    llm = llm or LLM(model=default_model(env))
    name = llm.model.strip()
    if not name or name.endswith("/"):
        raise UsageError(f"model {name!r} names no model; write it as gpt-4.1-mini or provider/model")
    if name == OFFLINE or name.startswith(OFFLINE + "?"):
        return Endpoint(
            "offline",
            OFFLINE,
            OFFLINE,
            params={"options": name.partition("?")[2]},
            takes_tools=llm.function_calling is not False,
            takes_schema=llm.structured_output is not False,
        )
    provider, model = split_name(name, bool(llm.base_url), env) if llm.provider is None else (_named(llm), name)
    known = PROVIDERS.get(provider)
    api_key = _dereference(llm.api_key, name, env) if llm.api_key else None
    endpoint = Endpoint(
        lane="direct" if known else "litellm",
        provider=provider,
        model=model,
        base_url=llm.base_url,
        api_key=api_key,
        params=llm.params,
        headers=llm.extra_headers,
        timeout_s=llm.timeout,
        reply_schema=_reply_schema(llm),
        takes_tools=_takes(llm.function_calling, "supports_function_calling", provider, llm.base_model or model),
        takes_schema=_takes(llm.structured_output, "supports_response_schema", provider, llm.base_model or model),
        base_model=llm.base_model,
    )
    if known is None:
        return endpoint
    base_url = llm.base_url or _first(known.base_env, env) or known.base_url
    return replace(
        endpoint,
        base_url=normalise_base_url(base_url),
        api_key=api_key or _first(known.key_env, env),
        params=_for_openai(llm.params, model),
    )


def _reply_schema(llm: LLM) -> ReplySchema | None:
    """The schema of the class that the LLM has as its `response_format`."""
    wanted = llm.reply_model
    if wanted is None or llm.structured_output is False:
        return None
    from crewrun.llm.schema import OutputSchema

    declared = ReplySchema(wanted.__name__, wanted.model_json_schema())
    wire = OutputSchema.of_model(wanted, "pydantic", f"model {llm.model!r}: response_format").wire
    return replace(wire, original=declared) if wire.strict else declared


def _takes(said: bool | None, capability: str, provider: str, model: str) -> bool:
    """What the LLM says of a capability, else what litellm's table knows of the model, wherever it is served.

    A model that the table does not know is tried: words are what is left when it refuses.
    """
    if said is not None:
        return said
    entries = (table_entry(name) for name in (f"{provider}/{model}", model, model.rpartition("/")[2]))
    known = next((entry for entry in entries if entry), None)
    return known is None or known.get(capability) is True


def default_model(env: Mapping[str, str] = os.environ) -> str:
    """The model of agents that name none, as CrewAI finds it."""
    return env.get("MODEL") or env.get("OPENAI_MODEL_NAME") or DEFAULT_MODEL


def split_name(name: str, has_base_url: bool, env: Mapping[str, str]) -> tuple[str, str]:
    """`name` as (provider, the model as that provider knows it).

    A name whose first part is no provider belongs to whatever speaks OpenAI's protocol at base_url.
    """
    prefix, slash, rest = name.partition("/")
    provider = _ALIASES.get(prefix.lower(), prefix.lower())
    if slash and rest and (provider in PROVIDERS or provider in known_providers()):
        return provider, rest
    if has_base_url or _first(PROVIDERS["openai"].base_env, env):
        return "openai", name
    if slash:
        raise UsageError(
            f"model {name!r}: no provider {prefix!r}{suggest(prefix, [*PROVIDERS, *known_providers()])}; "
            "for a server of your own set base_url or OPENAI_BASE_URL"
        )
    maker = next((maker for names, maker in _MAKERS if names.match(name)), None)
    return maker or (table_entry(name) or {}).get("litellm_provider", "openai"), name


def normalise_base_url(url: str) -> str:
    """`url` without a trailing slash or `/chat/completions`, and with `/v1` when it has no path at all.

    Raises UsageError unless it is an http or https URL with a host.
    """
    text = url.strip()
    if "://" not in text:
        text = "http://" + text  # OLLAMA_HOST is commonly host:port
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (raises ValueError for a port that is none)
    except ValueError as wrong:
        raise UsageError(f"base_url {url!r} is not a URL: {wrong}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"base_url {url!r} is not an http:// or https:// URL with a host")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def missing_key(endpoint: Endpoint) -> str | None:
    """The environment variable to set before `endpoint` of the direct lane can be called, None when nothing is missing.

    An address of one's own may need no key, so only the well-known ones are held to having one.
    """
    known = PROVIDERS.get(endpoint.provider)
    if endpoint.api_key or known is None or known.local or not known.key_env:
        return None
    return known.key_env[0] if endpoint.base_url == normalise_base_url(known.base_url) else None


def proxy_for(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY give for `url`.

    Looked up once per endpoint: aiohttp's own `trust_env` does it again for every request.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    if not proxy.startswith(("http://", "https://")):
        if "://" in proxy:
            raise UsageError(f"the proxy {proxy!r} from the environment is not an http proxy; unset it or use one")
        proxy = "http://" + proxy
    return proxy


def override(llm: LLM | None, model: str | None, base_url: str | None) -> LLM | None:
    """`llm` with the run's `--model` and `--base-url` in place of its own; None is the default model.

    Parameters stay. Address and key stay only while the provider does.
    """
    if model is None and base_url is None:
        return llm
    if model is not None and not model.strip():
        raise UsageError("--model is empty; name one, or leave it out")
    fields = dict(llm or LLM(model=default_model()))
    if model is not None:
        if _prefix(model) != _prefix(fields["model"]):
            fields.update(base_url=None, api_key=None, extra_headers={})
        fields.update(model=model, base_model=None, fallbacks=[])  # these go with the model that it had
    if base_url is not None:
        fields["base_url"] = base_url
    return LLM(**fields)


def _prefix(name: str) -> str:
    prefix, slash, _ = name.partition("/")
    if name.partition("?")[0] == OFFLINE:
        return OFFLINE
    prefix = prefix.lower() if slash else "openai"
    return _ALIASES.get(prefix, prefix)


def _first(names: tuple[str, ...], env: Mapping[str, str]) -> str | None:
    return next((value for name in names if (value := env.get(name, "").strip())), None)


def _dereference(value: str, model: str, env: Mapping[str, str]) -> str:
    found = _REFERENCE.fullmatch(value.strip())
    if not found:
        return value
    name = found[1] or found[2] or found[3]
    if not env.get(name):
        raise UsageError(
            f"model {model!r}: its api_key refers to ${name}, which is not set; export it or put it into .env"
        )
    return env[name].strip()


def _named(llm: LLM) -> str:
    """The provider that an LLM names beside its model."""
    provider = (llm.provider or "").strip().lower()
    provider = _ALIASES.get(provider, provider)
    if provider not in PROVIDERS and provider not in known_providers():
        near = suggest(provider, [*PROVIDERS, *known_providers()])
        raise UsageError(f"model {llm.model!r}: no provider {llm.provider!r}{near}")
    return provider


def _for_openai(params: Mapping[str, Any], model: str) -> dict[str, Any]:
    """`params` without those that are for litellm, and with max_tokens under the name that `model` takes."""
    renamed = {name: value for name, value in params.items() if name not in _LITELLM_ONLY}
    if "max_tokens" in renamed and _RENAMED_MAX_TOKENS.match(model):
        renamed.setdefault("max_completion_tokens", renamed.pop("max_tokens"))
    return renamed
