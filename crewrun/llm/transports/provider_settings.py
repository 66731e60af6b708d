"""The environment variables that a provider of the litellm transport needs, for its key and its address.

They are taken from litellm: the variables that it looks up when it calls each provider. Providers that authenticate in
other ways have no key here: AWS profiles, Google's and Microsoft's own logins, device logins, local servers. Wrongly
demanding a key would stop a run that works.
"""

import os
from collections.abc import Mapping
from typing import Final

from crewrun.messages import Endpoint


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The key is in <NAME>_API_KEY.
_BY_NAME: Final = _words(
    "abliteration ai21 aiand aihubmix aiml amazon_nova assemblyai baseten bigmodel bytez charity_engine chutes "
    "clarifai clf_ai_gateway cloudflare codestral cognition compactifai coralbricks cortecs crusoe darkbloom "
    "dashscope deepinfra edenai empiriolabs empower fal_ai galadriel github gmi gradient_ai helicone heroku "
    "hostinger_router hyperbolic inception inferenceapis kyma libertai llamagate maritalk meta minimax modelscope "
    "moonshot morph nadir nebius neosantara nlp_cloud novita nscale nvidia_nim openinfer parasail pinstripes poe "
    "predibase prism publicai refuseless reka sail sambanova sarvam streamlake synthetic tencent v0 volcengine "
    "wally wandb xiaomi_mimo zai zerogpu"
)
# Any of these works; messages name the first.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "ai21_chat": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "anthropic_text": ("ANTHROPIC_API_KEY",),
    "apertis": ("STIMA_API_KEY",),
    "azure": ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
    "azure_ai": ("AZURE_AI_API_KEY", "AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
    "azure_text": ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "cometapi": ("COMETAPI_KEY", "COMETAPI_API_KEY"),
    "custom_openai": ("OPENAI_API_KEY",),
    "datarobot": ("DATAROBOT_API_TOKEN",),
    "featherless_ai": ("FEATHERLESS_AI_API_KEY", "FEATHERLESS_API_KEY"),
    "friendliai": ("FRIENDLI_TOKEN", "FRIENDLIAI_API_KEY"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY", "PALM_API_KEY"),
    "gigachat": ("GIGACHAT_CREDENTIALS", "GIGACHAT_API_KEY", "GIGACHAT_ACCESS_TOKEN"),
    "huggingface": ("HUGGINGFACE_API_KEY", "HF_TOKEN"),
    "lambda_ai": ("LAMBDA_API_KEY",),
    "litellm_proxy": ("LITELLM_PROXY_API_KEY", "OPENAI_API_KEY"),
    "meta_llama": ("LLAMA_API_KEY",),
    "nano-gpt": ("NANOGPT_API_KEY",),
    "opencode_go": ("OPENCODE_GO_API_KEY", "OPENCODE_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "qwen_ai_platform": ("QWEN_AI_PLATFORM_API_KEY", "DASHSCOPE_API_KEY"),
    "qwencloud": ("QWENCLOUD_API_KEY", "DASHSCOPE_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "scaleway": ("SCW_SECRET_KEY",),
    "scx-ai": ("SCX_API_KEY",),
    "snowflake": ("SNOWFLAKE_JWT",),
    "tensormesh": ("TENSORMESH_INFERENCE_API_KEY",),
    "text-completion-codestral": ("CODESTRAL_API_KEY",),
    "text-completion-inception": ("INCEPTION_API_KEY",),
    "text-completion-openai": ("OPENAI_API_KEY",),
    "veniceai": ("VENICE_AI_API_KEY",),
    "vercel_ai_gateway": ("VERCEL_AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"),
    "watsonx": ("WATSONX_API_KEY", "WATSONX_APIKEY", "WX_API_KEY", "WATSONX_TOKEN", "WATSONX_ZENAPIKEY"),
    "watsonx_text": ("WATSONX_API_KEY", "WATSONX_APIKEY", "WX_API_KEY", "WATSONX_TOKEN", "WATSONX_ZENAPIKEY"),
}
# Other ways to authenticate, by variables and by fields of the LLM.
_AZURE_LOGINS: Final = ("AZURE_AD_TOKEN", "AZURE_OPENAI_AD_TOKEN", "AZURE_CLIENT_ID", "AZURE_USERNAME")
_LOGIN_FIELDS: Final = frozenset(
    {"api_key", "azure_ad_token", "azure_ad_token_provider", "client_id", "client_secret", "tenant_id", "token"}
    | {"azure_username", "azure_credential", "zen_api_key", "vertex_credentials"}
)
_LOGIN_HEADERS: Final = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
# litellm calls these even without a key, which the user's own server may accept.
_GO_WITHOUT: Final = _words(
    "cohere cohere_chat cometapi compactifai datarobot edenai huggingface minimax nadir nlp_cloud replicate"
)
# Providers without a fixed address, with the variables for it; with () only base_url can set it.
_ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "a2a": ("A2A_API_BASE",),
    "azure": ("AZURE_API_BASE",),
    "azure_ai": ("AZURE_AI_API_BASE",),
    "azure_text": ("AZURE_API_BASE",),
    "cloudflare": ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_BASE"),
    "custom": (),
    "heroku": ("HEROKU_API_BASE",),
    "litellm_proxy": ("LITELLM_PROXY_API_BASE",),
    "oobabooga": (),
    "snowflake": ("SNOWFLAKE_ACCOUNT_ID", "SNOWFLAKE_API_BASE"),
    "triton": (),
    "watsonx": ("WATSONX_API_BASE", "WATSONX_URL", "WX_URL", "WML_URL"),
    "watsonx_text": ("WATSONX_API_BASE", "WATSONX_URL", "WX_URL", "WML_URL"),
}
# Further providers of litellm that its price table does not list.
_OTHERS: Final = _words(
    "aiohttp_openai auto_router azure_ai bedrock chatgpt databricks databricks_agent docker_model_runner gdc "
    "github_copilot infinity langflow langgraph lemonade llamafile microsoft_365_copilot oci openai_like ovhcloud "
    "petals ragflow sagemaker sagemaker_chat sagemaker_nova sap vertex_ai vertex_ai_beta vllm xinference"
)
SERVED: Final = _BY_NAME | _KEYS.keys() | _ADDRESSES.keys() | _OTHERS


def missing_settings(endpoint: Endpoint, env: Mapping[str, str] = os.environ) -> list[str]:
    """The variables for key and address that must be set before `endpoint` can be called through litellm.

    `base_url` may provide the address instead. Empty if nothing is known to be missing.
    """
    missing = []
    if not _has_key(endpoint, env):
        missing.append(keys_of(endpoint.provider)[0])
    addresses = _ADDRESSES.get(endpoint.provider)
    if addresses is not None and not endpoint.base_url and not _set(addresses, env):
        missing.append(f"{addresses[0]} (or base_url in the llm)" if addresses else "base_url in the llm")
    return missing


def address_variables(provider: str) -> tuple[str, ...]:
    """The variables that litellm may take the address of `provider` from."""
    return (*_ADDRESSES.get(provider, ()), f"{provider.upper()}_API_BASE")


def keys_of(provider: str) -> tuple[str, ...]:
    """The variables that may hold the key of `provider`; empty if it needs no key, or if that is unknown."""
    by_name = (f"{provider.upper()}_API_KEY",) if provider in _BY_NAME else ()
    return _KEYS.get(provider, by_name)


def has_login(endpoint: Endpoint) -> bool:
    """Whether the llm itself authenticates without a key: by a header or by login fields."""
    headers = {name.lower() for name in endpoint.headers}
    return not (_LOGIN_HEADERS.isdisjoint(headers) and _LOGIN_FIELDS.isdisjoint(endpoint.params))


def _has_key(endpoint: Endpoint, env: Mapping[str, str]) -> bool:
    provider, keys = endpoint.provider, keys_of(endpoint.provider)
    if not keys or endpoint.api_key or has_login(endpoint) or _set(keys, env):
        return True
    if provider.startswith("azure") and _set(_AZURE_LOGINS, env):
        return True
    own = endpoint.base_url or env.get(f"{provider.upper()}_API_BASE")
    # For OpenAI-compatible servers litellm falls back to OpenAI's key, which must not go to another provider.
    return bool(own) and (provider in _GO_WITHOUT or _set(("OPENAI_API_KEY",), env))


def _set(names: tuple[str, ...], env: Mapping[str, str]) -> bool:
    return any(env.get(name, "").strip() for name in names)
