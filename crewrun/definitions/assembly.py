"""From a source to its definition, the same way for every format: sift the keys, check, validate, build."""

import warnings
from pathlib import Path

from crewrun.definitions.build import build
from crewrun.definitions.checks import check
from crewrun.definitions.definition import Definition
from crewrun.definitions.keys import Rules, sift
from crewrun.definitions.names import Names
from crewrun.definitions.objects import look_up
from crewrun.definitions.older import modernised
from crewrun.definitions.problems import LAST_COUNTS, Problem, failure, with_advice
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
    older: list[Problem] = []
    sifted = sift(modernised(source, older) if rules.crewai else source, rules)
    repeated = with_advice(source.repeated, LAST_COUNTS) if rules.crewai else []
    for warning in [*repeated, *older, *sifted.warnings]:
        warnings.warn(str(warning), CrewrunWarning, stacklevel=4)
    source = sifted.source
    problems = [*source.problems, *sifted.problems, *check(source, is_crewai=rules.crewai)]
    if not rules.crewai:  # in crewrun's own format a key that has no effect is an error
        problems += source.repeated
    objects = look_up(source, names, problems)
    spec = validate(source, names, rules)
    if not isinstance(spec, CrewSpec):
        raise failure(source.file, [*problems, *spec])
    if problems:
        raise failure(source.file, problems)
    batch = spec.batch.model_dump(exclude_none=True) if spec.batch else {}
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    target = CrewTarget(build(spec, source, folder, objects))
    return Definition(target, batch=batch, path=Path(path), kind=kind)
