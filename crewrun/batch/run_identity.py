"""The identity of a run: what decides its answers. Rows that are done under another identity run again."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from crewrun.definitions.definition import Definition
from crewrun.fingerprint import fingerprint
from crewrun.hooks.dispatch import all_hooks
from crewrun.llm.request_identity import describe_endpoint
from crewrun.messages import Endpoint
from crewrun.redaction.key_shapes import without_key_shapes
from crewrun.redaction.redactor import learn, redact
from crewrun.redaction.written_secrets import written_secrets
from crewrun.runs.manifest import texts_of


class Identity(NamedTuple):
    """What decides the answers of a run: the texts of its crew without secrets, and the fingerprint of the `crew`.

    `endpoints` are its models, as from `describe_endpoint`; `definition` is the fingerprint of crew, models and
    constants together.
    """

    texts: dict[str, str]
    crew: str
    endpoints: list[str]
    definition: str


def identify(
    definition: Definition, endpoints: list[Endpoint], constants: Mapping[str, Any] = MappingProxyType({})
) -> Identity:
    """The identity of a run of `definition`. `constants` are the inputs for all rows."""
    texts = texts_of(definition.path)
    for name, text in texts.items():
        learn(written_secrets(text, is_python=name.endswith(".py")))
    what = fingerprint(definition.target.identity({name: without_key_shapes(text) for name, text in texts.items()}))
    if hooks := all_hooks():
        what = fingerprint([what, hooks])
    described = sorted(describe_endpoint(endpoint) for endpoint in endpoints)
    shown = {name: redact(text) for name, text in texts.items()}
    decisive = [what, described, *([json.dumps(constants, sort_keys=True)] if constants else [])]
    return Identity(shown, what, described, fingerprint(decisive))


def endpoints_in_words(endpoints: Sequence[str]) -> str:
    """Endpoints as from `describe_endpoint`, in words for people."""
    return " and ".join(map(_words_of, endpoints)) or "no model"


def _words_of(endpoint: str) -> str:
    try:
        transport_name, provider, model, base_url, params = json.loads(endpoint)
    except (ValueError, TypeError):
        return endpoint
    name = model if transport_name == "offline" else f"{provider}/{model}"
    return f"{name}{f' at {base_url}' if base_url else ''}{f' with {json.dumps(params)}' if params else ''}"
