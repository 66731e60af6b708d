"""From a source to its definition, the same steps for every format: normalise, keys, checks, names, spec, build."""

import warnings
from pathlib import Path

from crewrun.definitions.build import build
from crewrun.definitions.checks import check
from crewrun.definitions.definition import Definition
from crewrun.definitions.keys import Rules, drop_unknown_keys
from crewrun.definitions.names import Names, look_up_objects
from crewrun.definitions.normalise import normalise_older
from crewrun.definitions.problems import LAST_COUNTS, failure, with_advice
from crewrun.definitions.source import Source
from crewrun.definitions.spec import CrewSpec
from crewrun.definitions.validation import validate
from crewrun.errors import CrewrunWarning
from crewrun.target.crew import CrewTarget


def assemble(source: Source, names: Names, rules: Rules, kind: str, path: str) -> Definition:
    """The definition that `source` describes; `path` is what the user named.

    Every fault that can be known is collected before any is raised, as DefinitionError with one line per fault in the
    order of the file. Warns with CrewrunWarning of keys without effect, where `rules` let them pass.
    """
    notes = with_advice(source.repeated, LAST_COUNTS) if rules.crewai else []
    if rules.crewai:
        source = normalise_older(source, notes)
    known = drop_unknown_keys(source, rules)
    for warning in [*notes, *known.warnings]:
        warnings.warn(str(warning), CrewrunWarning, stacklevel=4)
    source = known.source
    problems = [*source.problems, *known.problems, *check(source, is_crewai=rules.crewai)]
    if not rules.crewai:  # in crewrun's own format a repeated key, of which one has no effect, is an error
        problems += source.repeated
    objects = look_up_objects(source, names, problems)
    spec = validate(source, names, rules)
    if not isinstance(spec, CrewSpec):
        raise failure(source.file, [*problems, *spec])
    if problems:
        raise failure(source.file, problems)
    batch = spec.batch.model_dump(exclude_none=True) if spec.batch else {}
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    target = CrewTarget(build(spec, source, folder, objects))
    return Definition(target, batch=batch, path=Path(path), kind=kind)
