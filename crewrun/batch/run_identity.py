"""The identity of a run: what decides its answers. Rows that are done under another identity run again."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from crewrun.batch.crew_parts import Parts, parts_of, text_parts
from crewrun.batch.definition_records import DefinitionRecord
from crewrun.definitions.definition import Definition
from crewrun.fingerprint import fingerprint
from crewrun.hooks.dispatch import all_hooks
from crewrun.llm.endpoint_secrets import without_secrets
from crewrun.llm.request_identity import describe_endpoint
from crewrun.messages import Endpoint
from crewrun.redaction.key_shapes import without_key_shapes
from crewrun.redaction.redactor import learn, redact, redact_value
from crewrun.redaction.written_secrets import written_secrets
from crewrun.runs.manifest import texts_of


class Identity(NamedTuple):
    """What decides the answers of a run: the texts of its crew without secrets, and the fingerprint of the `crew`.

    `endpoints` are its models, as from `describe_endpoint`; `definition` is the fingerprint of crew, models and
    constants together. `parts` tell a later session what of the crew has changed.
    """

    texts: dict[str, str]
    crew: str
    endpoints: list[str]
    definition: str
    parts: Parts

    def record(self, constants: Mapping[str, Any]) -> DefinitionRecord:
        """What other sessions compare theirs with."""
        endpoints = [without_secrets(endpoint) for endpoint in self.endpoints]
        texts = text_parts(self.texts)
        return DefinitionRecord(self.definition, self.crew, endpoints, redacted(constants), self.parts, texts)


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
    return Identity(shown, what, described, fingerprint(decisive), parts_of(definition.target.crew, shown))


def redacted(value: Any) -> Any:
    """An option's value without a password that may be in it: a retry gets that from the environment."""
    if isinstance(value, Mapping):
        return {name: redacted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return redact_value(value) if isinstance(value, str) else value


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
