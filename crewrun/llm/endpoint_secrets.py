"""The secrets with which a model is called: of an LLM as it was written, and of the endpoint that it resolved to."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from crewrun.llm.model import LLM
from crewrun.llm.placement import PLAIN
from crewrun.messages import Endpoint
from crewrun.secret_values import environment_secrets, secrets_in, secrets_of_headers, secrets_of_url


def secrets_of_llm(llm: LLM) -> Iterator[str]:
    """What an LLM's fields have, before any of them is looked at: an error about one may quote it."""
    yield from secrets_in({**llm.__dict__, **(llm.model_extra or {}), "fallbacks": ()})


def secrets_of(endpoint: Endpoint) -> Iterator[str]:
    """All that calls of `endpoint` carry and that is to be seen nowhere, with what the environment adds to them now."""
    if endpoint.api_key:
        yield endpoint.api_key
    yield from secrets_of_headers(endpoint.headers)
    yield from secrets_in({**endpoint.fields, **endpoint.query})
    yield from _secrets_of_variables(endpoint)
    if endpoint.base_url:
        yield from secrets_of_url(endpoint.base_url)
    yield from environment_secrets(os.environ)  # keys that litellm takes from there, and those of proxies


def _secrets_of_variables(endpoint: Endpoint) -> Iterator[str]:
    """What variables put anywhere but into what is no secret: the model's name, host and path, and plain parameters."""
    address = urlsplit(endpoint.base_url or "")
    plain = [endpoint.model, address.hostname or "", address.path]
    plain += [str(endpoint.fields[name]) for name in PLAIN & endpoint.fields.keys()]
    yield from (value for value in endpoint.secrets if not any(value in text for text in plain))
