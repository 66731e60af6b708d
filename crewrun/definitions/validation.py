"""`validate` a source against the spec. pydantic's errors become problems with their places."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from crewrun.definitions.batch_section import needed_at
from crewrun.definitions.checks import needs_of_a_task
from crewrun.definitions.keys import Rules, unknown_key
from crewrun.definitions.names import NameResolver
from crewrun.definitions.problems import Problem, Value, explain, missing
from crewrun.definitions.source import DefinitionSource
from crewrun.definitions.spec import CrewSpec, TaskSpec, spec_at
from crewrun.definitions.value_types import TAG


def validate(source: DefinitionSource, names: NameResolver, rules: Rules) -> CrewSpec | list[Problem]:
    """The spec of `source` with its names resolved, or what is wrong with it.

    CrewAI's formats are read leniently, as CrewAI reads them: `"5"` is a number where one is needed.
    """
    try:
        return CrewSpec.model_validate(source.data, strict=not rules.crewai, context=names)
    except ValidationError as invalid:
        return [_translate(error, source) for error in invalid.errors(include_url=False)]


def _translate(error: ErrorDetails, source: DefinitionSource) -> Problem:
    path = tuple(key for key in error["loc"] if not (isinstance(key, str) and key.startswith(TAG)))
    if error["type"] == "missing":
        spec = spec_at(path[:-1])
        needed = [name for name, field in spec.model_fields.items() if field.is_required()]
        needed = needs_of_a_task(source) if issubclass(spec, TaskSpec) else needed
        return source.at_key(path, missing(spec.noun, needed))
    if error["type"] == "extra_forbidden":
        return source.at_key(path, unknown_key(path))
    value = Value(path, error["input"], source.written.get(path))
    needs = needed_at(path[1:]) if path[0] == "batch" else None
    return source.at_value(path, explain(error, value) if needs is None else f"needs to be {needs}, not {value}")
