"""What a batch runs: `Target`, and `as_target`, which makes one of whatever a name in the user's code stands for.

Our own crews are targets, and our flows become one. Anything else with a kickoff method is run through a
`ForeignTarget`.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from pydantic import BaseModel

from crewrun.concurrency import call
from crewrun.crew.agent import Agent
from crewrun.crew.crew import Crew
from crewrun.crew.output import AgentOutput, CrewOutput, TaskOutput, jsonable
from crewrun.crew.task import Task
from crewrun.errors import DefinitionError
from crewrun.flow.flow import Flow
from crewrun.flow.target import FlowTarget
from crewrun.llm.model import LLM
from crewrun.llm.sync import settled
from crewrun.llm.tally import current_tally
from crewrun.references import broken, loading
from crewrun.templates import compile_template

ACCEPTED = (
    "a crew, a flow's class, an object with akickoff, kickoff_async or kickoff, a @CrewBase class, "
    "or a function without arguments that returns one"
)
_ENTRANCES = ("akickoff", "kickoff_async", "kickoff")


class Target(Protocol):
    """What a batch runs: our crew, or anything that keeps these three promises."""

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The inputs that every row must have, each with the place that needs it."""
        ...

    @property
    def models(self) -> list[tuple[str, LLM | None]]:
        """The models that it may call, each with who uses it."""
        ...

    async def akickoff(self, inputs: Mapping[str, Any] | None = None) -> Any:
        """Run once. The result has `raw` and `value`."""
        ...


def as_target(found: Any, name: str) -> Target:
    """The target in `found`, which messages call `name`: what `ACCEPTED` says.

    A function is called now, and a class made now, to see what it gives; a foreign one is called again for each row.
    Raises DefinitionError for anything else, and for code of the user's that fails.
    """
    made = owner = found
    if _is_project(found):
        owner = _made(found, name) if inspect.isclass(found) else found
        made = _crew_of(owner, name)
    elif inspect.isclass(found) or (callable(found) and not _has_entrance(found)):
        made = owner = _made(found, name)
        made = _crew_of(made, name) if _is_project(made) else made
    if isinstance(made, Crew):
        if made is not found and _keeps_things(made):
            made.made_for_each_row_by(partial(_again, owner) if _is_project(found) else partial(_made_for_a_row, found))
        return made
    if isinstance(made, Flow):
        return FlowTarget.of(made, None if made is found else found)
    if isinstance(made, Agent | Task) or inspect.isclass(made) or not _has_entrance(made) or _is_crewai_agent(made):
        gives = f"{name} is" if made is found else f"{name} gives"
        raise DefinitionError(f"{gives} {_kind(made)}, which cannot be run; a target is {ACCEPTED}")
    if made is not found and not _is_project(found):
        return ForeignTarget(made, name, partial(_made_for_a_row, found))
    if not _is_crewai(made):
        return ForeignTarget(made, name, partial(_itself, made))
    if not _is_copied_whole(made):
        raise DefinitionError(
            f"{name} is {_kind(made)}, which keeps the state of its run, so one row would get another's; "
            "name its class, or a function that makes one"
        )
    return ForeignTarget(made, name, partial(call, made.copy), is_copied=True)


class ForeignTarget:
    """Another library's crew, or an object of the user's. Each kickoff gets one that no other is using at the time.

    That is `fresh()`: what a factory makes, a copy of a CrewAI crew, else the one object, which must stand concurrent
    kickoffs. `sample` is one of its kind; it is looked at, and run only if it is that one object.
    """

    def __init__(self, sample: Any, name: str, fresh: Callable[[], Awaitable[Any]], *, is_copied: bool = False) -> None:
        self._sample = sample
        self._fresh = fresh
        self._is_copied = is_copied
        self.account = f"{name} is {_kind(sample)}: crewrun does not count the calls, tokens and cost of its own"

    @property
    def placeholders(self) -> Mapping[str, str]:
        """What a CrewAI crew says that it needs; unknown, so nothing, when its own code may add inputs."""
        fetch = getattr(self._sample, "fetch_inputs", None)
        if not callable(fetch) or getattr(self._sample, "before_kickoff_callbacks", None):
            return {}
        # CrewAI takes every pair of braces for a placeholder, and fills in only what is named like one.
        return {name: "the crew" for name in sorted(fetch()) if compile_template(f"{{{name}}}").names == {name}}

    @property
    def models(self) -> list[tuple[str, LLM | None]]:
        """None that crewrun would call."""
        return []

    async def akickoff(self, inputs: Mapping[str, Any] | None = None) -> "ForeignOutput":
        """Run once, with inputs of its own. Raises what the foreign code raises."""
        crew = await self._fresh()
        if _is_crewai(crew) and getattr(crew, "stream", False) is True:
            crew.stream = False  # else the result is an iterator, and nothing has run yet
        entrance = next((getattr(crew, name) for name in _ENTRANCES if callable(getattr(crew, name, None))), None)
        if entrance is None:
            raise TypeError(f"{_kind(crew)} has none of {', '.join(_ENTRANCES)}")
        tally = current_tally()
        if tally is not None:
            tally.unaccounted()
        output = ForeignOutput.of(await call(entrance, inputs=deepcopy(dict(inputs or {}))))
        # Copies of a crew share their model's counter, and each would tell the sum of all rows.
        return replace(output, token_usage=None) if self._is_copied else output


@dataclass(frozen=True, slots=True)
class ForeignOutput:
    """What a foreign kickoff came to: its text, the same as a JSON value, and what it says that it used."""

    raw: str
    value: Any
    token_usage: Any = None

    @classmethod
    def of(cls, result: Any) -> "ForeignOutput":
        """Out of a CrewAI output, or of any other object."""
        raw = getattr(result, "raw", None)
        text = raw if isinstance(raw, str) else str(result)
        return cls(text, value_of(result), getattr(result, "token_usage", None))


def value_of(result: Any) -> Any:
    """What a row's `output` is, as JSON: the value in an output of ours, or else what the last callback made of it.

    CrewAI's outputs have `pydantic`, `json_dict` and `raw`; any other object is its own value, a strange one its text.
    """
    if isinstance(result, CrewOutput | TaskOutput | AgentOutput | ForeignOutput):
        return result.value
    model, fields, raw = (getattr(result, name, None) for name in ("pydantic", "json_dict", "raw"))
    value = raw if isinstance(raw, str) else result
    if isinstance(fields, dict):
        value = fields
    if isinstance(model, BaseModel):
        value = model
    return jsonable(value)


def _keeps_things(crew: Crew) -> bool:
    """Whether hooks of a @CrewBase class may leave on their object what only one row is to see."""
    hooks = (*crew.before_kickoff_callbacks, *crew.after_kickoff_callbacks)
    return crew.scoped_hooks is not None or any(_is_project(getattr(hook, "__self__", None)) for hook in hooks)


def _again(project: Any) -> Crew:
    """The crew of one of our @CrewBase classes, over a copy of `project`."""
    crew: Crew = project._crewrun_again(_crew_method(project).__name__)
    return crew


async def _itself(crew: Any) -> Any:
    return crew


async def _made_for_a_row(factory: Callable[[], Any]) -> Any:
    made = await call(factory)
    return await call(_crew_method(made)) if _is_project(made) else made


def _made(factory: Callable[[], Any], name: str) -> Any:
    if needed := _needed_by(factory):
        raise DefinitionError(
            f"{name} needs arguments ({', '.join(needed)}), and a batch has none to give; "
            "name a function without arguments that returns a crew"
        )
    return _run(factory, f"calling {name}")


def _needed_by(factory: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # written in C, and says nothing of itself: calling it will tell
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _crew_of(project: Any, name: str) -> Any:
    marked = _crew_methods(project)
    if len(marked) > 1 and "crew" not in marked:
        raise DefinitionError(
            f"{name} has several @crew methods, {', '.join(marked)}; call the one that is meant `crew`"
        )
    method = _crew_method(project)
    if not callable(method):
        raise DefinitionError(f"{name} is a @CrewBase class without a @crew method, which makes the crew")
    return _run(method, f"making the crew of {name}")


def _crew_method(project: Any) -> Any:
    """What makes the crew: `crew`, unless another method is the one that is marked."""
    marked = _crew_methods(project)
    return getattr(project, marked[0] if marked and "crew" not in marked else "crew", None)


def _crew_methods(project: Any) -> Sequence[str]:
    """The names of the methods under our @crew; CrewAI's classes do not say."""
    marked: Sequence[str] = getattr(project, "_crewrun_crews", ())
    return marked


def _run(function: Callable[[], Any], doing: str) -> Any:
    try:
        with loading():
            return settled(function())
    except KeyboardInterrupt:
        raise
    except BaseException as failed:  # SystemExit too: it would end the process without a word
        raise broken(doing, failed) from None


def _is_project(found: Any) -> bool:
    """Whether it is a class under @CrewBase, or an instance of one: CrewAI's mark, and ours."""
    return getattr(found, "is_crew_class", False) is True


def _is_crewai(found: Any) -> bool:
    """Whether it is an object of CrewAI's: none of them may run twice at once."""
    return any(kind.__module__.partition(".")[0] == "crewai" for kind in type(found).__mro__)


def _is_crewai_agent(found: Any) -> bool:
    """CrewAI's agents have a kickoff too, which takes messages."""
    return _is_crewai(found) and hasattr(found, "role")


def _is_copied_whole(found: Any) -> bool:
    """Whether its `copy()` gives another crew, as it is made for; CrewAI's flows have none that would."""
    return callable(getattr(found, "copy", None)) and hasattr(found, "tasks")


def _has_entrance(found: Any) -> bool:
    return any(callable(getattr(found, name, None)) for name in _ENTRANCES)


def _kind(found: Any) -> str:
    if found is None:
        return "None"
    kind = found if inspect.isclass(found) else type(found)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if inspect.isclass(found):
        return f"the class {name}"
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"
