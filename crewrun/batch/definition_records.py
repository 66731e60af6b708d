"""`DefinitionRecord`: what a manifest says about a definition that rows of its run were done under.

A manifest has that of its latest session, and in short those of the sessions before it (`earlier`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from crewrun.batch.crew_parts import Parts, text_parts
from crewrun.errors import UsageError
from crewrun.inspect.earlier_rows import latest_definition
from crewrun.runs.folder import RunFolder
from crewrun.runs.manifest import Manifest, read_manifest

# Users try a few versions of a crew on one output. Older ones are "not known" then.
_MAX_EARLIER = 12


@dataclass(frozen=True, slots=True)
class DefinitionRecord:
    """`definition` is the fingerprint that rows are done under, `crew` that of the crew alone.

    `endpoints` are without secrets, None where they are unknown, `constants` the redacted inputs for all rows. `parts`
    are from the loaded crew, None for sessions that did not store them, `text_parts` from its files. `anywhere` is the
    fingerprint without addresses, empty for sessions that did not store it. `columns` are those of `--map`.
    """

    definition: str
    crew: str = ""
    endpoints: Sequence[str] | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    parts: Parts | None = None
    text_parts: Parts | None = None
    anywhere: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it, without what is empty."""
        return {name: value for name, value in asdict(self).items() if value or name == "endpoints"}

    @classmethod
    def of_json(cls, data: Any) -> "DefinitionRecord | None":
        """The record in a manifest; None if it is not one."""
        if not isinstance(data, Mapping) or not isinstance(data.get("definition"), str):
            return None
        endpoints, constants, columns = data.get("endpoints"), data.get("constants"), data.get("columns")
        return cls(
            data["definition"],
            str(data.get("crew") or ""),
            [str(one) for one in endpoints] if isinstance(endpoints, list) else None,
            constants if isinstance(constants, Mapping) else {},
            _as_parts(data.get("parts")),
            _as_parts(data.get("text_parts")),
            str(data.get("anywhere") or ""),
            columns if isinstance(columns, Mapping) else {},
        )

    @classmethod
    def of_manifest(cls, manifest: Manifest, definition: str, *, with_texts: bool) -> "DefinitionRecord":
        """The record of a manifest's latest session. `definition` is its fingerprint, which older manifests lack.

        `with_texts` reads the parts of its texts, which may be megabytes.
        """
        about = manifest.definition
        texts = about.get("texts") if with_texts else None
        record = cls.of_json(
            {
                "definition": about.get("definition") or definition,
                "crew": about.get("fingerprint"),
                "endpoints": about.get("endpoints"),
                "constants": manifest.options.get("input"),
                "columns": manifest.options.get("map"),
                "parts": about.get("parts"),
                "anywhere": about.get("anywhere"),
                "text_parts": text_parts({str(k): str(v) for k, v in texts.items()}) if isinstance(texts, dict) else {},
            }
        )
        return record or cls(definition)


class PreviousRun(NamedTuple):
    """A run's manifest before this session, and the fingerprint of its latest session's definition by the journal.

    That is empty if the journal has no session.
    """

    manifest: Manifest
    definition: str


def previous_run(folder: RunFolder | None) -> PreviousRun | None:
    """What `folder` says of the sessions so far; None where no run has begun, or its manifest cannot be read."""
    if folder is None or not folder.is_used:
        return None
    try:
        manifest = read_manifest(folder.manifest)
    except UsageError:  # opening the run reports it
        return None
    return PreviousRun(manifest, latest_definition(folder.journal) or "")


def records_of(previous: PreviousRun | None) -> list[DefinitionRecord]:
    """What is known of definitions of earlier sessions, the latest first."""
    if previous is None:
        return []
    is_older = not previous.manifest.definition.get("parts")
    last = DefinitionRecord.of_manifest(previous.manifest, previous.definition, with_texts=is_older)
    by_name: dict[str, DefinitionRecord] = {}
    for record in [last, *records_in(previous.manifest)]:
        if record.definition:
            by_name.setdefault(record.definition, record)
    return list(by_name.values())


def other_records(previous: PreviousRun | None, now: str) -> list[DefinitionRecord]:
    """Those other than `now`, as far as a manifest has room for them."""
    return [record for record in records_of(previous) if record.definition != now][:_MAX_EARLIER]


def need_texts(records: Sequence[DefinitionRecord]) -> bool:
    """Whether any of them can only be compared by the parts of its texts."""
    return any(record.parts is None for record in records)


def records_in(manifest: Manifest) -> list[DefinitionRecord]:
    """The earlier definitions that a manifest lists."""
    listed = manifest.definition.get("earlier")
    entries = map(DefinitionRecord.of_json, listed) if isinstance(listed, list) else ()
    return [record for record in entries if record is not None]


def _as_parts(value: Any) -> Parts | None:
    if not isinstance(value, Mapping) or not value:
        return None
    return {
        str(owner): {str(name): str(digest) for name, digest in fields.items()}
        for owner, fields in value.items()
        if isinstance(fields, Mapping)
    }
