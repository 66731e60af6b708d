"""`assemble`: from a source to a definition, in steps that are the same for all formats."""

import warnings
from pathlib import Path
from typing import Any

from crewrun.crew.crew import Crew
from crewrun.definitions.build import build
from crewrun.definitions.checks import check
from crewrun.definitions.definition import Definition
from crewrun.definitions.keys import Rules, drop_unknown_keys
from crewrun.definitions.names import NameResolver, look_up_objects
from crewrun.definitions.normalise import normalise_older
from crewrun.definitions.problems import LAST_COUNTS, failure, with_advice
from crewrun.definitions.source import DefinitionSource
from crewrun.definitions.spec import CrewSpec
from crewrun.definitions.validation import validate
from crewrun.errors import CrewrunWarning
from crewrun.expect.expectations import Expectations
from crewrun.target.crew import CrewTarget


def assemble(source: DefinitionSource, names: NameResolver, rules: Rules, kind: str, path: str) -> Definition:
    """The definition that `source` describes; `path` is the file or folder as the user named it.

    Collects all faults that it can find before it raises DefinitionError, with one line per fault in the order of the
    file. Warns with CrewrunWarning about keys that have no effect, where `rules` allow them.
    """
    notes = with_advice(source.repeated, LAST_COUNTS) if rules.crewai else []
    if rules.crewai:
        source = normalise_older(source, notes)
    checked = drop_unknown_keys(source, rules)
    for warning in [*notes, *checked.warnings]:
        warnings.warn(str(warning), CrewrunWarning, stacklevel=4)
    source = checked.source
    problems = [*source.problems, *checked.problems, *check(source, is_crewai=rules.crewai)]
    if not rules.crewai:  # in crewrun's own format a repeated key is an error, since all but the last have no effect
        problems += source.repeated
    objects = look_up_objects(source, names, problems)
    spec = validate(source, names, rules)
    if not isinstance(spec, CrewSpec):
        raise failure(source.file, [*problems, *spec])
    if problems:
        raise failure(source.file, problems)
    batch = spec.batch.model_dump(exclude_none=True) if spec.batch else {}
    if spec.identity is not None and spec.identity.base_url is not None:
        batch.setdefault("same_endpoint", spec.identity.base_url == "ignore")
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    crew = build(spec, source, folder, objects)
    if not rules.crewai:
        crew.set_crew_yaml()
    expectations = Expectations(dict[str, Any](spec.expect or {}))
    _check_expectations(expectations, crew, source)
    target = CrewTarget(crew, expectations=expectations)
    return Definition(target, batch=batch, path=Path(path), kind=kind)


def _check_expectations(expectations: Expectations, crew: Crew, source: DefinitionSource) -> None:
    """Refuse those on fields that no output can have, which all rows would miss, and warn of fields that the schema of
    the output does not name. Callbacks and guardrails may make another output, and a class may add fields to its own,
    so nothing is said then.
    """
    last = crew.tasks[-1]
    if not isinstance(last.output_schema, dict) or crew.after_kickoff_callbacks or last.guardrail or last.guardrails:
        return
    faults = expectations.faults(last.output_schema)
    problems = [source.at_value(("expect", name), why) for name, why, is_certain in faults if is_certain]
    if problems:
        raise failure(source.file, problems)
    for name, why, _ in faults:
        warnings.warn(str(source.at_value(("expect", name), why)), CrewrunWarning, stacklevel=4)
