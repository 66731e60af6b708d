"""The identity of a run: what decides its answers. Rows that are done under another identity run again."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import EllipsisType
from typing import Any, NamedTuple

from crewrun.batch.crew_parts import Parts, parts_of, text_parts
from crewrun.batch.definition_records import DefinitionRecord, PreviousRun, records_of
from crewrun.definitions.definition import Definition
from crewrun.fingerprint import fingerprint
from crewrun.hooks.dispatch import all_hooks
from crewrun.inspect.earlier_rows import count_done
from crewrun.llm.endpoint_secrets import without_secrets
from crewrun.llm.request_identity import Addresses, describe_endpoint
from crewrun.messages import Endpoint
from crewrun.redaction.key_shapes import REDACTED, without_key_shapes
from crewrun.redaction.redactor import learn, redact, redact_value
from crewrun.redaction.written_secrets import written_secrets
from crewrun.runs.folder import RunFolder
from crewrun.runs.manifest import texts_of
from crewrun.tables.reading.input_options import InputOptions

_AS_THEY_ARE = InputOptions()


class Identity(NamedTuple):
    """What decides the answers of a run: the texts of its crew without secrets, and the fingerprint of the `crew`.

    `endpoints` are its models, as from `describe_endpoint`; `definition` is the fingerprint of crew, models, constants
    and `--map` together, `anywhere` the same without addresses. `parts` tell a later session what of the crew has
    changed. `addresses` are where its models count as called.
    """

    texts: dict[str, str]
    crew: str
    endpoints: list[str]
    definition: str
    anywhere: str
    parts: Parts
    addresses: Addresses = None

    def record(self, inputs: InputOptions, *, with_texts: bool) -> DefinitionRecord:
        """What other sessions compare theirs with; `with_texts` as in `DefinitionRecord.of_manifest`."""
        return DefinitionRecord(
            self.definition,
            self.crew,
            [without_secrets(endpoint) for endpoint in self.endpoints],
            redacted(inputs.constants),
            self.parts,
            text_parts(self.texts) if with_texts else None,
            self.anywhere,
            dict(inputs.map),
        )


class Past(NamedTuple):
    """The definitions of a run's sessions so far, the latest first, and how many rows succeeded under each."""

    records: Sequence[DefinitionRecord]
    count_done: Callable[[str], int]


def past_of(previous: PreviousRun | None, folder: RunFolder | None) -> Past:
    """The past of the run in `folder`."""
    count = partial(count_done, folder.journal) if folder is not None else lambda _: 0
    return Past(records_of(previous), count)


def identify(
    definition: Definition,
    endpoints: list[Endpoint],
    inputs: InputOptions = _AS_THEY_ARE,
    past: Past | None = None,
) -> Identity:
    """The identity of a run of `definition`, whose rows are read with `inputs`.

    With `past` (--same-endpoint), addresses do not count: a definition in it that is the same but for these is taken,
    and models count as called where they were then.
    """
    texts = texts_of(definition.path)
    for name, text in texts.items():
        learn(written_secrets(text, is_python=name.endswith(".py")))
    crew = definition.target.identity({name: without_key_shapes(text) for name, text in texts.items()})
    decisive = _Decisive(crew, all_hooks(), endpoints, inputs)
    shown = {name: redact(text) for name, text in texts.items()}
    identity = Identity(
        shown,
        decisive.crew_fingerprint(),
        decisive.described(None),
        decisive.fingerprint(None),
        decisive.fingerprint({}, None),
        parts_of(definition.target.crew, shown),
    )
    return identity if past is None else _counted_as(identity, decisive, past)


@dataclass(frozen=True, slots=True)
class _Decisive:
    """All that decides answers, for fingerprints with other addresses."""

    crew: Any
    hooks: Any
    endpoints: Sequence[Endpoint]
    inputs: InputOptions

    def crew_fingerprint(self, base_url: str | EllipsisType | None = ...) -> str:
        """Of the crew and its hooks, with `base_url` in place of what its models have."""
        what = fingerprint(self.crew, base_url)
        return fingerprint([what, self.hooks]) if self.hooks else what

    def described(self, addresses: Addresses) -> list[str]:
        """The endpoints as they count with `addresses`."""
        return sorted(describe_endpoint(endpoint, addresses) for endpoint in self.endpoints)

    def fingerprint(self, addresses: Addresses, base_url: str | EllipsisType | None = ...) -> str:
        """Of all of it."""
        parts: list[Any] = [self.crew_fingerprint(base_url), self.described(addresses)]
        if self.inputs.constants:
            parts.append(json.dumps(self.inputs.constants, sort_keys=True))
        if self.inputs.map:
            parts.append(["--map", sorted(self.inputs.map.items())])
        return fingerprint(parts)


def _counted_as(identity: Identity, decisive: _Decisive, past: Past) -> Identity:
    """`identity` with the addresses, and if there is one the name, of the definition in `past` that it counts as."""
    same = [record for record in past.records if _is_same(record, identity, decisive)]
    match = max(same, key=lambda record: past.count_done(record.definition), default=None)
    own = addresses_of(identity.endpoints)
    latest = match or next(iter(past.records), None)
    addresses = own | {model: url for model, url in addresses_of(_endpoints_of(latest)).items() if model in own}
    endpoints = decisive.described(addresses)
    name = match.definition if match is not None else decisive.fingerprint(addresses)
    return identity._replace(endpoints=endpoints, definition=name, addresses=addresses)


def _is_same(record: DefinitionRecord, identity: Identity, decisive: _Decisive) -> bool:
    """Whether a recorded definition is the same but for addresses. Records of older versions do not say; what they were
    is computed with their addresses.
    """
    if record.anywhere:
        return record.anywhere == identity.anywhere
    addresses = addresses_of(_endpoints_of(record))
    urls = set(addresses.values())
    base_urls: list[str | EllipsisType | None] = [..., *urls] if len(urls) == 1 else [...]
    return any(decisive.fingerprint(addresses, base_url) == record.definition for base_url in base_urls)


def _endpoints_of(record: DefinitionRecord | None) -> Sequence[str]:
    return (record.endpoints if record is not None else None) or ()


def addresses_of(endpoints: Sequence[str]) -> dict[tuple[str, str, str], str | None]:
    """The address of each model of `endpoints`, as from `describe_endpoint`.

    One that a manifest shows without its password is left out, and so are several of one model.
    """
    urls: dict[tuple[str, str, str], set[str | None]] = {}
    for endpoint in endpoints:
        with suppress(ValueError, TypeError):  # a manifest may be damaged
            transport_name, provider, model, base_url, _ = json.loads(endpoint)
            urls.setdefault((transport_name, provider, model), set()).add(base_url)
    only = {model: next(iter(several)) for model, several in urls.items() if len(several) == 1}
    return {model: url for model, url in only.items() if REDACTED not in (url or "")}


def without_addresses(endpoints: Sequence[str]) -> list[str]:
    """Endpoints as from `describe_endpoint`, with no address."""
    fields = [json.loads(endpoint) for endpoint in endpoints]
    return [json.dumps([*one[:3], None, *one[4:]], sort_keys=True, separators=(",", ":")) for one in fields]


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
    params = {key: value for key, value in params.items() if value != ""}  # the offline model without options
    return f"{name}{f' at {base_url}' if base_url else ''}{f' with {json.dumps(params)}' if params else ''}"
