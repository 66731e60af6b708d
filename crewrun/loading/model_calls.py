"""`called_model`: which connections are model calls, by their host, their port, or the package that opens them.

Everything else may be read while a file is loaded: tables, prompts, a database.
"""

import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

# Hosts of model providers, or the ends of their names.
_PROVIDERS = (
    *("api.openai.com", ".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"),
    *("models.inference.ai.azure.com", "models.github.ai", "api.githubcopilot.com"),
    *("api.anthropic.com", "generativelanguage.googleapis.com", "aiplatform.googleapis.com"),
    *("api.groq.com", "api.mistral.ai", "api.cohere.com", "api.cohere.ai", "api.x.ai", "api.deepseek.com"),
    *("api.together.xyz", "api.together.ai", "openrouter.ai", "api.perplexity.ai", "api.fireworks.ai"),
    *("api.cerebras.ai", "api.sambanova.ai", "integrate.api.nvidia.com", "api.replicate.com", "api.deepinfra.com"),
    *("api-inference.huggingface.co", "router.huggingface.co", ".endpoints.huggingface.cloud", "api.ai21.com"),
    *("api.novita.ai", "api.hyperbolic.xyz", "api.voyageai.com", "api.jina.ai", ".ml.cloud.ibm.com", "ollama.com"),
    *("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "api.moonshot.cn", "api.moonshot.ai"),
    *("open.bigmodel.cn", "api.z.ai", "api.minimax.io", "api.minimax.chat", "ark.cn-beijing.volces.com"),
)
_BEDROCK = re.compile(r"bedrock(-agent)?-runtime[.-]")
# Ollama's default port: https://docs.ollama.com/faq
_OLLAMA_PORT = 11434
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104  (compared, not bound)
_ADDRESSES = re.compile(r"(_BASE_URL|_API_BASE|_API_URL|OLLAMA_HOST|OPENAI_ENDPOINT)$")
# Packages that call models, or the parts of packages that do, as paths below site-packages.
_CLIENTS = (
    *("openai/", "litellm/", "anthropic/", "groq/", "google/genai/", "google/generativeai/", "vertexai/"),
    *("ollama/", "mistralai/", "cohere/", "together/", "cerebras/", "replicate/", "fireworks/", "xai_sdk/"),
    *("ibm_watsonx_ai/", "dashscope/", "zhipuai/", "huggingface_hub/inference/", "crewai/llm", "aisuite/"),
    *("langchain_core/language_models/", "langchain_openai/", "langchain_anthropic/", "langchain_groq/"),
    *("langchain_google_genai/", "langchain_ollama/", "langchain_mistralai/", "langchain_cohere/", "langchain_aws/"),
    *("langchain/chat_models/", "langchain/llms/", "langchain_community/chat_models/", "langchain_community/llms/"),
    *("langchain_community/embeddings/", "langchain_huggingface/", "llama_index/llms/", "llama_index/core/llms/"),
)
# Hosts that such packages also use: for price tables, tokenizers, model files, credentials and telemetry.
_FREE = (
    *("raw.githubusercontent.com", "github.com", "huggingface.co", "openaipublic.blob.core.windows.net"),
    *(".googleapis.com", "accounts.google.com", "metadata.google.internal", ".amazonaws.com"),
    *("login.microsoftonline.com", "smith.langchain.com", ".posthog.com", ".sentry.io", ".datadoghq.com"),
)
_METADATA = "169.254."  # the metadata service of a cloud


def called_model(host: str, port: int | None, files: Iterable[str], env: Mapping[str, str] = os.environ) -> str | None:
    """A description of the model that is called at `host`; None if the connection is for something else.

    `files` are the files of the calling code, innermost first. Variables in `env` may name endpoints of the user's.
    """
    host = host.lower().rstrip(".")
    where = f"{host}:{port}" if host in _LOCAL and port else host
    if host.endswith(_PROVIDERS) or _BEDROCK.match(host) or _is_named(host, port, env):
        return where
    if host in _LOCAL and port == _OLLAMA_PORT:
        return where
    if host.endswith(_FREE) or host.startswith(_METADATA):
        return None
    client = next((package for file in files if (package := _client(file)) is not None), None)
    return None if client is None else f"{where} by {client}"


def _is_named(host: str, port: int | None, env: Mapping[str, str]) -> bool:
    for name, value in env.items():
        if not _ADDRESSES.search(name) or not value:
            continue
        try:
            url = urlsplit(value if "//" in value else f"//{value}")
            named, named_port = (url.hostname or "").lower(), url.port
        except ValueError:  # not an address
            continue
        if named == host or {named, host} <= _LOCAL:
            named_port = named_port or (443 if url.scheme == "https" else 80)
            # The user's host may serve other things on other ports.
            return port is None or named_port == port
    return False


def _client(file: str) -> str | None:
    """The package of `file` if it is one that calls models."""
    for folder in ("site-packages", "dist-packages"):
        _, separator, inner = file.rpartition(f"{os.sep}{folder}{os.sep}")
        if separator:
            inner = inner.replace(os.sep, "/")
            match = next((client for client in _CLIENTS if inner.startswith(client)), None)
            return None if match is None else match.partition("/")[0]
    return None
