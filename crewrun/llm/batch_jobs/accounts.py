"""Which providers have batch jobs that we know, and where the account of an endpoint is: address, headers and query.

Keys and addresses come from the variables that live calls take them from, litellm's and OpenAI's client's.
"""

import os
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from crewrun.errors import ModelRefused
from crewrun.llm.providers import first_set
from crewrun.llm.transports.provider_settings import keys_of
from crewrun.messages import Endpoint

ANTHROPIC: Final = "anthropic"
AZURE: Final = "azure"
GEMINI: Final = "gemini"
MISTRAL: Final = "mistral"
TOGETHER: Final = "together_ai"
# openai also stands for other servers with OpenAI's endpoints.
WITH_JOBS: Final = frozenset({"openai", "groq", ANTHROPIC, AZURE, GEMINI, MISTRAL, TOGETHER})
# Addresses of theirs that users may have as an OpenAI server's.
_HOSTS: Final[Mapping[str, str]] = {
    "openai.azure.com": AZURE,
    "services.ai.azure.com": AZURE,
    "cognitiveservices.azure.com": AZURE,
    "api.mistral.ai": MISTRAL,
    "api.together.xyz": TOGETHER,
    "api.together.ai": TOGETHER,
}
# The first api-version of Azure with batch jobs: https://learn.microsoft.com/azure/ai-foundry/openai/whats-new
_FIRST_VERSION: Final = "2024-07-01"
_VERSION: Final = re.compile(r"/v\d\w*$")


class Account(NamedTuple):
    """Where requests for files and jobs go, and what they all have."""

    base_url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]


def jobs_of(endpoint: Endpoint) -> str:
    """The provider whose batch jobs an endpoint has: its own, or the one whose address it has as an OpenAI server's."""
    if endpoint.provider != "openai":
        return endpoint.provider
    host = urlsplit(endpoint.base_url or "").hostname or ""
    return next((provider for name, provider in _HOSTS.items() if host == name or host.endswith(f".{name}")), "openai")


def account_of(endpoint: Endpoint, env: Mapping[str, str] = os.environ) -> Account:
    """The account of an endpoint at a provider with batch jobs. Raises ModelRefused for a login that they have not."""
    match endpoint.provider:
        case "anthropic":
            return _anthropic(endpoint, env)
        case "azure":
            return _azure(endpoint, env)
        case "gemini":
            return _gemini(endpoint, env)
    parts = urlsplit(endpoint.base_url or "")
    headers = dict(endpoint.headers)
    if endpoint.api_key and "@" not in parts.netloc and "authorization" not in map(str.lower, headers):
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    query = {**dict(parse_qsl(parts.query)), **endpoint.query}
    return Account(urlunsplit(parts._replace(query="")), headers, query)


def _anthropic(endpoint: Endpoint, env: Mapping[str, str]) -> Account:
    base_url = endpoint.base_url or first_set(("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"), env)
    base_url = (base_url or "https://api.anthropic.com").rstrip("/").removesuffix("/v1/messages").removesuffix("/v1")
    key = endpoint.api_key or first_set(("ANTHROPIC_API_KEY",), env) or ""
    return Account(base_url, {"x-api-key": key, "anthropic-version": "2023-06-01", **endpoint.headers}, {})


def _azure(endpoint: Endpoint, env: Mapping[str, str]) -> Account:
    """Files and jobs are the resource's and not the deployment's. An `api_version` that has them is used; else they are
    at the address that has none: https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
    """
    parts = urlsplit(endpoint.base_url or first_set(("AZURE_API_BASE",), env) or "")
    resource = parts.path.partition("/openai")[0].rstrip("/")
    version = azure_version(endpoint, env)
    path = f"{resource}/openai" if version else f"{resource}/openai/v1"
    base_url = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    headers, names = dict(endpoint.headers), {name.lower() for name in endpoint.headers}
    token = endpoint.params.get("azure_ad_token") or first_set(("AZURE_AD_TOKEN", "AZURE_OPENAI_AD_TOKEN"), env)
    if key := endpoint.api_key or first_set(keys_of(AZURE), env):
        headers.setdefault("api-key", key)
    elif isinstance(token, str):
        headers.setdefault("Authorization", f"Bearer {token}")
    elif names.isdisjoint({"api-key", "authorization"}):
        raise ModelRefused(
            f"model {endpoint.name!r}: its batch jobs need a key ({keys_of(AZURE)[0]}, or api_key in the llm) or a "
            "token (AZURE_AD_TOKEN); with another login, say `tier: standard`"
        )
    return Account(base_url, headers, {"api-version": version, **endpoint.query} if version else endpoint.query)


def _gemini(endpoint: Endpoint, env: Mapping[str, str]) -> Account:
    """The address ends with the API's version, as that of live calls does."""
    base_url = endpoint.base_url or first_set(("GEMINI_API_BASE",), env) or "https://generativelanguage.googleapis.com"
    base_url = base_url.rstrip("/")
    if not _VERSION.search(base_url):
        base_url += "/v1beta"
    key = endpoint.api_key or first_set(keys_of(GEMINI), env) or ""
    return Account(base_url, {"x-goog-api-key": key, **endpoint.headers}, {})


def azure_version(endpoint: Endpoint, env: Mapping[str, str] = os.environ) -> str:
    """The api-version for an Azure endpoint's batch jobs, empty for the address that needs none."""
    parts = urlsplit(endpoint.base_url or "")
    if "/openai/v1" in parts.path:
        return ""
    version = endpoint.params.get("api_version") or dict(parse_qsl(parts.query)).get("api-version")
    version = str(version or first_set(("AZURE_API_VERSION",), env) or "")
    return version if version[:2] == "20" and version >= _FIRST_VERSION else ""
