"""`as_target`: the target in whatever a name in the user's code stands for."""

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
from crewrun.target.recipe import Method, Recipe, Step


def as_target(found: Any, name: str) -> Target:
    """The target in `found`, which messages call `name`: what `ACCEPTED` says.

    A function that needs no arguments is called now, and such a @CrewBase class made now, to see what it gives; any
    other function and class is called for each row. Raises DefinitionError for anything else, and for code of the
    user's that fails.
    """
    if isinstance(found, Crew | Flow) or is_crewai(found):
        return _of_object(found, name)
    recipe = _recipe(found, name)
    if recipe is None:
        raise DefinitionError(f"{name} is {kind_of(found)}, which cannot be run; a target is {ACCEPTED}")
    if recipe.needs_row or (recipe.owner is not None and not is_project(found)):
        return PerRowTarget(recipe)
    if recipe.method is not None and not is_project(found):
        return PerRowTarget(recipe)
    return _of_factory(found, recipe, name)


def _recipe(found: Any, name: str) -> Recipe | None:
    """What a row calls of `found`, None when it is nothing to call."""
    if isinstance(found, Agent | Task) or (inspect.isclass(found) and issubclass(found, Agent | Task | Crew)):
        return None
    if inspect.isclass(found):
        return _of_class(found, name)
    if is_project(found):
        return Recipe(name, type(found), owner=found, method=Method.of(type(found), crew_method_of(found, name), name))
    if (owner := owner_of(found)) is not None:
        what = name.rpartition(".")[0]
        return Recipe(name, owner, Step.of(owner, what), Method.of(owner, found.__name__, what))
    if has_kickoff(found) or (may_run(found) and not callable(found)):
        entrance = entrance_of(type(found), name)
        return Recipe(name, type(found), owner=found, method=Method.of(type(found), entrance, name))
    return Recipe(name, found, Step.of(found, name)) if callable(found) else None


def _of_class(found: type, name: str) -> Recipe:
    make = Step.of(found, name)
    if is_project(found):
        return Recipe(name, found, make, Method.of(found, crew_method_of(found, name), name))
    if issubclass(found, Flow) or any(kind.__module__.partition(".")[0] == "crewai" for kind in found.__mro__):
        return Recipe(name, found, make)
    return Recipe(name, found, make, Method.of(found, entrance_of(found, name), name))


def _of_object(found: Any, name: str) -> Target:
    if isinstance(found, Crew):
        return CrewTarget(found)
    if isinstance(found, Flow):
        return FlowTarget.of(found, None)
    if not has_kickoff(found) or hasattr(found, "role"):  # CrewAI's agents have a kickoff too, which takes messages
        raise DefinitionError(f"{name} is {kind_of(found)}, which cannot be run; a target is {ACCEPTED}")
    if not is_copied_whole(found):
        raise DefinitionError(not_copied(name, found, "is"))

    async def itself(row: Mapping[str, Any]) -> Any:
        return found

    return ForeignTarget(found, name, itself)


def _of_factory(found: Any, recipe: Recipe, name: str) -> Target:
    """The target in what a function or a class gives that needs no arguments."""
    tried = _tried(recipe.make.function, f"calling {name}") if recipe.make is not None else Attempt(recipe.owner, None)
    owner = tried.value
    if tried.stop is None and is_project(owner):
        tried = _tried(getattr(owner, crew_method_of(owner, name)), f"making the crew of {name}")
    if tried.stop is not None:  # it runs a crew by itself
        return PerRowTarget(recipe)
    made = tried.value
    if isinstance(made, Crew):
        return CrewTarget(made, _per_row_copy(made, owner, found, recipe))
    if isinstance(made, Flow):
        return FlowTarget.of(made, found)
    if is_crewai(made) and has_kickoff(made) and not hasattr(made, "role"):
        return ForeignTarget(made, name, _maker(recipe))
    if isinstance(made, Agent | Task) or inspect.isclass(made) or not may_run(made):
        raise DefinitionError(f"{name} gives {kind_of(made)}, which cannot be run; a target is {ACCEPTED}")
    return PerRowTarget(recipe, made)


def _maker(recipe: Recipe) -> Callable[[Mapping[str, Any]], Awaitable[Any]]:
    async def made(row: Mapping[str, Any]) -> Any:
        crew = await recipe.run(row)
        return await call(getattr(crew, crew_method_of(crew, recipe.what))) if is_project(crew) else crew

    return made


def _keeps_things(crew: Crew) -> bool:
    """Whether hooks of a @CrewBase class may leave on their object what only one row is to see."""
    hooks = (*crew.before_kickoff_callbacks, *crew.after_kickoff_callbacks)
    return crew.scoped_hooks is not None or any(is_project(getattr(hook, "__self__", None)) for hook in hooks)


def _per_row_copy(crew: Crew, project: Any, found: Any, recipe: Recipe) -> PerRowCopy | None:
    """How rows get crews of their own that would see another's state otherwise, or that give their own arguments."""
    if _keeps_things(crew):
        is_copied = is_project(found) and not recipe.optional and not recipe.takes_others
        return PerRowCopy(partial(_copied, project) if is_copied else _maker(recipe))
    if recipe.optional or recipe.takes_others:
        only_with = None if recipe.takes_others else recipe.optional
        return PerRowCopy(_maker(recipe), only_with, recipe.problem)
    return None


def _copied(project: Any, row: Mapping[str, Any]) -> Crew:
    """The crew of one of our @CrewBase classes, over a copy of `project`."""
    crew: Crew = project._crewrun_again(crew_method_of(project, ""))
    return crew


def _tried(function: Callable[[], Any], doing: str) -> Attempt[Any]:
    """What the user's function returns, or where it would have called a model. Raises DefinitionError."""
    try:
        with loading():
            return attempt(lambda: settled(function()))
    except KeyboardInterrupt:
        raise
    except BaseException as failed:  # SystemExit too: it would end the process without a word
        raise broken(doing, failed) from None
