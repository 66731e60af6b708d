"""The secrets of a model's calls: of an LLM as written, and of the endpoint that it resolved to.

`without_secrets` is an endpoint's description as it is kept and compared.
"""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

from crewrun.llm.custom.model import custom_of
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.placement import PLAIN
from crewrun.messages import Endpoint
from crewrun.redaction.credentials import settings_without_credentials
from crewrun.redaction.key_shapes import REDACTED
from crewrun.redaction.values import secrets_in, secrets_of_headers, secrets_of_url


def secrets_of_llm(llm: ModelFields) -> Iterator[str]:
    """The secrets in an LLM's fields. Needed before any field is checked, since an error may quote it."""
    others = getattr(llm, "__pydantic_extra__", None) or {}
    custom = getattr(custom_of(llm), "__dict__", {})
    yield from secrets_in({**llm.__dict__, **others, **custom, "fallbacks": ()})


def secrets_of(endpoint: Endpoint) -> Iterator[str]:
    """All that calls of `endpoint` carry and that must not be shown, without what the environment adds to them."""
    if endpoint.api_key:
        yield endpoint.api_key
    yield from secrets_of_headers(endpoint.headers)
    yield from secrets_in({**endpoint.fields, **endpoint.query})
    yield from _secrets_of_variables(endpoint)
    if endpoint.base_url:
        yield from secrets_of_url(endpoint.base_url)


def _secrets_of_variables(endpoint: Endpoint) -> Iterator[str]:
    """Values of variables, unless they are in something public: model name, host, path and plain parameters."""
    address = urlsplit(endpoint.base_url or "")
    plain = [endpoint.model, address.hostname or "", address.path]
    plain += [str(endpoint.fields[name]) for name in PLAIN & endpoint.fields.keys()]
    yield from (value for value in endpoint.secrets if not any(value in text for text in plain))


def without_secrets(described: str) -> str:
    """The result of `describe_endpoint` without secrets. It depends on nothing else, not even on the secrets known so
    far, since one process finds by it what another has concluded about an endpoint.
    """
    transport_name, provider, model, base_url, params = json.loads(described)
    shown = [transport_name, provider, model, *settings_without_credentials([base_url, params])]
    return json.dumps(shown, sort_keys=True, separators=(",", ":"))


def is_described_by(shown: str, described: str) -> bool:
    """Whether `shown`, which is without secrets, may describe the endpoint that is `described` with them: with another
    key it is the same endpoint.
    """
    first, *others = shown.split(REDACTED)
    if not others:
        return shown == described
    at = len(first)
    for part in others[:-1]:
        start = described.find(part, at)
        if start < 0:
            return False
        at = start + len(part)
    return described.startswith(first) and described.endswith(others[-1]) and len(described) - len(others[-1]) >= at
