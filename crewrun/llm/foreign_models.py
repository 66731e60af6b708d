"""Model objects of other libraries, LangChain's above all, as the fields of an LLM.

crewrun calls the model itself, so an object stands for its name, its provider, its address, its key and its parameters.
Whose model it is says the object's class: `ChatOllama(model="llama3")` is none of OpenAI's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

# Classes of LangChain, and of libraries for it, by the provider in litellm's words.
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
# A field of LLM, and the attributes that may hold it, the first that is set.
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
    """The fields of an LLM for `value`, None where it has no model's name."""
    name = _first(value, _NAMES)
    if not isinstance(name, str):
        return None
    found = {field: _first(value, attributes) for field, attributes in _ATTRIBUTES.items()}
    fields = {field: given for field, given in found.items() if isinstance(given, str | int | float | list | dict)}
    provider = next((_PROVIDERS[kind.__name__] for kind in type(value).__mro__ if kind.__name__ in _PROVIDERS), None)
    if provider is None:
        fields.pop("api_version", None)
        return {"model": name, **fields}
    fields["model"] = name.removeprefix(f"{provider}/").removeprefix("models/")
    if provider == "azure" and isinstance(base := getattr(value, "model_name", None), str) and base != name:
        fields["base_model"] = base
    return {"provider": provider, **fields}


def _first(value: Any, names: Sequence[str]) -> Any:
    """The first attribute that is set and not empty; a secret as its text."""
    for name in names:
        found = getattr(value, name, None)
        if callable(reveal := getattr(found, "get_secret_value", None)):
            found = reveal()
        if found not in (None, "", [], {}):
            return found
    return None
