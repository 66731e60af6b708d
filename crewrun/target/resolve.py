"""`as_target`: the target for an object in the user's code."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from crewrun.aio.concurrency import call
from crewrun.crew.agent import Agent
from crewrun.crew.crew import Crew
from crewrun.crew.task import Task
from crewrun.errors import DefinitionError
from crewrun.flow.flow import Flow
from crewrun.llm.sync import settled
from crewrun.loading.block import Attempt, attempt
from crewrun.references import broken, loading
from crewrun.target.base import ACCEPTED, Target, kind_of
from crewrun.target.crew import CrewTarget, PerRowCopy
from crewrun.target.flow import FlowTarget
from crewrun.target.foreign import ForeignTarget, is_copied_whole, is_crewai, not_copied
from crewrun.target.methods import entrance_of, has_kickoff, may_run, owner_of
from crewrun.target.per_row import PerRowTarget
from crewrun.target.projects import crew_method_of, is_project
from crewrun.target.recipe import MethodStep, Recipe, Step


def as_target(value: Any, name: str) -> Target:
    """The target for `value`, which messages call `name`. `ACCEPTED` lists what `value` may be.

    A function that needs no arguments is called now, and a @CrewBase class that needs none is instantiated now, to see
    what they make; other functions and classes are called for each row. Raises DefinitionError for anything else, and
    if the user's code fails.
    """
    if isinstance(value, Crew | Flow) or is_crewai(value):
        return _of_object(value, name)
    recipe = _recipe(value, name)
    if recipe is None:
        raise DefinitionError(f"{name} is {kind_of(value)}, which cannot be run; a target is {ACCEPTED}")
    if recipe.needs_row or (recipe.owner is not None and not is_project(value)):
        return PerRowTarget(recipe)
    if recipe.method is not None and not is_project(value):
        return PerRowTarget(recipe)
    return _of_factory(value, recipe, name)


def _recipe(value: Any, name: str) -> Recipe | None:
    """What a row calls of `value`, None if `value` is not a function, method or class."""
    if isinstance(value, Agent | Task) or (inspect.isclass(value) and issubclass(value, Agent | Task | Crew)):
        return None
    if inspect.isclass(value):
        return _of_class(value, name)
    if is_project(value):
        return Recipe(
            name, type(value), owner=value, method=MethodStep.of(type(value), crew_method_of(value, name), name)
        )
    if (owner := owner_of(value)) is not None:
        what = name.rpartition(".")[0]
        return Recipe(name, owner, Step.of(owner, what), MethodStep.of(owner, value.__name__, what))
    if has_kickoff(value) or (may_run(value) and not callable(value)):
        entrance = entrance_of(type(value), name)
        return Recipe(name, type(value), owner=value, method=MethodStep.of(type(value), entrance, name))
    return Recipe(name, value, Step.of(value, name)) if callable(value) else None


def _of_class(value: type, name: str) -> Recipe:
    make = Step.of(value, name)
    if is_project(value):
        return Recipe(name, value, make, MethodStep.of(value, crew_method_of(value, name), name))
    if issubclass(value, Flow) or any(kind.__module__.partition(".")[0] == "crewai" for kind in value.__mro__):
        return Recipe(name, value, make)
    return Recipe(name, value, make, MethodStep.of(value, entrance_of(value, name), name))


def _of_object(value: Any, name: str) -> Target:
    if isinstance(value, Crew):
        return CrewTarget(value)
    if isinstance(value, Flow):
        return FlowTarget.of(value, None)
    if not has_kickoff(value) or hasattr(value, "role"):  # CrewAI's agents have a kickoff too, but it takes messages
        raise DefinitionError(f"{name} is {kind_of(value)}, which cannot be run; a target is {ACCEPTED}")
    if not is_copied_whole(value):
        raise DefinitionError(not_copied(name, value, "is"))

    async def itself(row: Mapping[str, Any]) -> Any:
        return value

    return ForeignTarget(value, name, itself)


def _of_factory(value: Any, recipe: Recipe, name: str) -> Target:
    """The target for the result of a function or class that needs no arguments."""
    make = recipe.make
    outcome = Attempt(recipe.owner, None) if make is None else _tried(make.function, f"calling {name}")
    owner = outcome.value
    if outcome.stop is None and is_project(owner):
        outcome = _tried(getattr(owner, crew_method_of(owner, name)), f"making the crew of {name}")
    if outcome.stop is not None:  # it runs a crew itself
        return PerRowTarget(recipe)
    result = outcome.value
    if isinstance(result, Crew):
        return CrewTarget(result, _per_row_copy(result, owner, value, recipe))
    if isinstance(result, Flow):
        return FlowTarget.of(result, value)
    if is_crewai(result) and has_kickoff(result) and not hasattr(result, "role"):
        return ForeignTarget(result, name, _maker(recipe))
    if isinstance(result, Agent | Task) or inspect.isclass(result) or not may_run(result):
        raise DefinitionError(f"{name} gives {kind_of(result)}, which cannot be run; a target is {ACCEPTED}")
    return PerRowTarget(recipe, result)


def _maker(recipe: Recipe) -> Callable[[Mapping[str, Any]], Awaitable[Any]]:
    async def result(row: Mapping[str, Any]) -> Any:
        crew = await recipe.run(row)
        return await call(getattr(crew, crew_method_of(crew, recipe.what))) if is_project(crew) else crew

    return result


def _stores_row_values(crew: Crew) -> bool:
    """Whether hooks of a @CrewBase class may store a row's values on their object, where other rows would see them."""
    hooks = (*crew.before_kickoff_callbacks, *crew.after_kickoff_callbacks)
    return crew.scoped_hooks is not None or any(is_project(getattr(hook, "__self__", None)) for hook in hooks)


def _per_row_copy(crew: Crew, project: Any, value: Any, recipe: Recipe) -> PerRowCopy | None:
    """How rows get their own crews if they would see each other's state, or if they override arguments. Else None."""
    if _stores_row_values(crew):
        is_copied = is_project(value) and not recipe.optional and not recipe.takes_others
        return PerRowCopy(partial(_copied, project) if is_copied else _maker(recipe))
    if recipe.optional or recipe.takes_others:
        only_with = None if recipe.takes_others else recipe.optional
        return PerRowCopy(_maker(recipe), only_with, recipe.problem)
    return None


def _copied(project: Any, row: Mapping[str, Any]) -> Crew:
    """The crew that a copy of `project`, an object of one of our @CrewBase classes, makes."""
    crew: Crew = project._crewrun_fresh_crew(crew_method_of(project, ""))
    return crew


def _tried(function: Callable[[], Any], doing: str) -> Attempt[Any]:
    """What the user's function returns, or the stop where it would call a model. Raises DefinitionError."""
    try:
        with loading():
            return attempt(lambda: settled(function()))
    except KeyboardInterrupt:
        raise
    except BaseException as failed:  # SystemExit too, which would end the process silently
        raise broken(doing, failed) from None
