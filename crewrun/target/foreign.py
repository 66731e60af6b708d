"""`ForeignTarget`: another library's crew or flow, of which crewrun sees only the inputs and the answer."""

from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from inspect import isclass
from pathlib import Path
from typing import Any
from weakref import ref

from crewrun.aio.concurrency import call
from crewrun.errors import DefinitionError
from crewrun.row_context import current_row_context
from crewrun.target.base import Target, kind_of
from crewrun.target.engine import Engine, current_engine
from crewrun.target.methods import KICKOFFS
from crewrun.target.values import ForeignOutput
from crewrun.templates import compile_template


class ForeignTarget(Target):
    """One of CrewAI's crews or flows. Each kickoff gets an object that has not run before.

    `fresh` makes it from the row's inputs, by a factory or as a copy. `sample` is one such object, to look at and never
    to run.
    """

    needs_texts = True

    def __init__(self, sample: Any, name: str, fresh: Callable[[Mapping[str, Any]], Awaitable[Any]]) -> None:
        refuse_foreign(current_engine(), name, sample)
        self._sample = sample
        self._fresh = fresh
        self.name = name
        self._used = Used(sample)
        self.uncounted_reason = (
            f"{name} is {kind_of(sample)}: crewrun does not count the calls, tokens and cost of its own"
        )

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The inputs that a CrewAI crew says it needs; none if its own code may add inputs."""
        fetch = getattr(self._sample, "fetch_inputs", None)
        if not callable(fetch) or getattr(self._sample, "before_kickoff_callbacks", None):
            return {}
        # CrewAI reports every pair of braces, but fills in only those whose content is a placeholder's name.
        return {name: "the crew" for name in sorted(fetch()) if compile_template(f"{{{name}}}").names == {name}}

    def set_folder(self, folder: Path) -> None:
        """Do nothing: file paths stay relative to the working directory, as without crewrun."""

    def identity(self, texts: Mapping[str, str]) -> Any:
        """The texts of its files, and CrewAI as the engine."""
        return [texts, None, "crewai"]

    async def akickoff(self, inputs: Mapping[str, Any] | None = None) -> ForeignOutput:
        """Run once, on a copy of the inputs. Raises what the foreign code raises."""
        row = deepcopy(dict(inputs or {}))
        return await run_foreign(await self._fresh(row), row, self._used, self.name)


class Used:
    """CrewAI's objects that have been run. They keep the state of their run, so none may run twice.

    `sample` itself is never run, so that copies of it are in their original state.
    """

    def __init__(self, sample: Any = None) -> None:
        self._sample = sample
        self._by_id: dict[int, Any] = {}

    async def unused(self, crew: Any, name: str) -> Any:
        """`crew`, or a copy if it is the sample. Raises DefinitionError if it has been run before."""
        if crew is self._sample:
            if not is_copied_whole(crew):
                raise DefinitionError(not_copied(name, crew, "gives all rows one object,"))
            return await call(crew.copy)
        key = id(crew)
        reference = self._by_id.get(key)
        if reference is not None and reference() is crew:
            raise DefinitionError(not_copied(name, crew, "gives an object that another row had,"))
        try:
            self._by_id[key] = ref(crew, lambda _: self._by_id.pop(key, None))
        except TypeError:  # no weak reference is possible, so the object is held
            self._by_id[key] = lambda: crew
        return crew


async def run_foreign(crew: Any, row: Mapping[str, Any], used: Used, name: str) -> ForeignOutput:
    """The answer of one kickoff of `crew`, or of a copy if it is the sample.

    Raises DefinitionError if it has been run before, and what its own code raises.
    """
    original = crew
    crew = await used.unused(original, name)
    if getattr(crew, "stream", False) is True:
        crew.stream = False  # otherwise the result is an iterator and nothing has run yet
    entrance = next((getattr(crew, each) for each in KICKOFFS if callable(getattr(crew, each, None))), None)
    if entrance is None:
        raise TypeError(f"{kind_of(crew)} has none of {', '.join(KICKOFFS)}")
    if (row_context := current_row_context()) is not None:
        row_context.usage.add_unseen_calls()
    output = ForeignOutput.of(await call(entrance, inputs=row))
    # Copies of a crew share their model's counter, so each would report the sum of all rows.
    return output if crew is original else replace(output, token_usage=None)


def refuse_foreign(engine: Engine, name: str, crew: Any) -> None:
    """Raise DefinitionError for one of CrewAI's objects if crewrun is the engine: it would call models by itself."""
    if engine == "crewrun":
        raise DefinitionError(
            f"{name} gives {kind_of(crew)}, which installed code has made: it would call models past crewrun; "
            "to run it like that, use --engine crewai"
        )


def not_copied(name: str, crew: Any, how: str) -> str:
    """The message about an object that would have to run twice."""
    return (
        f"{name} {how} {kind_of(crew)}, which keeps the state of its run, so one row would get another's; "
        "name its class, or a function that makes a new one each time"
    )


def is_crewai(value: Any) -> bool:
    """Whether `value` is an object of an installed CrewAI. Such an object must not run in two rows."""
    return not isclass(value) and any(kind.__module__.partition(".")[0] == "crewai" for kind in type(value).__mro__)


def is_copied_whole(value: Any) -> bool:
    """Whether `copy()` gives an independent crew. CrewAI's flows have no such method."""
    return callable(getattr(value, "copy", None)) and hasattr(value, "tasks")
