"""Reads model objects of other libraries, mostly LangChain's, as the fields of an LLM.

crewrun calls the model itself, so it takes only the name, provider, address, key and parameters from such an object.
The object's class determines the provider: `ChatOllama(model="llama3")` is not one of OpenAI's models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

# Classes of LangChain and its integrations, with litellm's names of their providers.
# https://python.langchain.com/docs/integrations/chat/
_PROVIDERS: Final[Mapping[str, str]] = {
    "AzureChatOpenAI": "azure",
    "AzureOpenAI": "azure",
    "ChatAnthropic": "anthropic",
    "ChatBedrock": "bedrock",
    "ChatBedrockConverse": "bedrock",
    "ChatCohere": "cohere_chat",
    "ChatDeepSeek": "deepseek",
    "ChatFireworks": "fireworks_ai",
    "ChatGoogleGenerativeAI": "gemini",
    "ChatGroq": "groq",
    "ChatMistralAI": "mistral",
    "ChatNVIDIA": "nvidia_nim",
    "ChatOllama": "ollama",
    "ChatPerplexity": "perplexity",
    "ChatTogether": "together_ai",
    "ChatVertexAI": "vertex_ai",
    "ChatWatsonx": "watsonx",
    "ChatXAI": "xai",
    "Ollama": "ollama",
    "OllamaLLM": "ollama",
}
# Each field of LLM, with the attributes that may hold it; the first one that is set counts.
_ATTRIBUTES: Final[Mapping[str, Sequence[str]]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "max_tokens": ("max_tokens", "max_output_tokens", "num_predict"),
    "timeout": ("timeout", "request_timeout", "default_request_timeout"),
    "base_url": ("base_url", "azure_endpoint", "openai_api_base", "anthropic_api_url", "groq_api_base"),
    "api_key": (
        "api_key",
        *("openai_api_key", "anthropic_api_key", "groq_api_key", "google_api_key", "mistral_api_key", "xai_api_key"),
    ),
    "api_version": ("openai_api_version", "api_version"),
    "stop": ("stop", "stop_sequences"),
    "seed": ("seed",),
    "extra_headers": ("default_headers",),
}
_NAMES: Final = ("deployment_name", "azure_deployment", "model_name", "model", "model_id", "repo_id")


def fields_of_model(value: Any) -> dict[str, Any] | None:
    """The fields of an LLM for `value`, None if it does not name a model."""
    name = _first(value, _NAMES)
    if not isinstance(name, str):
        return None
    values = {field: _first(value, attributes) for field, attributes in _ATTRIBUTES.items()}
    fields = {field: value for field, value in values.items() if isinstance(value, str | int | float | list | dict)}
    provider = next((_PROVIDERS[kind.__name__] for kind in type(value).__mro__ if kind.__name__ in _PROVIDERS), None)
    if provider is None:
        fields.pop("api_version", None)
        return {"model": name, **fields}
    fields["model"] = name.removeprefix(f"{provider}/").removeprefix("models/")
    if provider == "azure" and isinstance(base := getattr(value, "model_name", None), str) and base != name:
        fields["base_model"] = base
    return {"provider": provider, **fields}


def _first(value: Any, names: Sequence[str]) -> Any:
    """The first attribute that is set and not empty, with secrets unwrapped."""
    for name in names:
        attribute = getattr(value, name, None)
        if callable(reveal := getattr(attribute, "get_secret_value", None)):
            attribute = reveal()
        if attribute not in (None, "", [], {}):
            return attribute
    return None
