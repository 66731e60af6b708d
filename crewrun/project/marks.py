"""The decorators of a `@CrewBase` class. Each marks a method with its kind and caches what the method makes.

On one instance of the class, a method called without arguments returns the same object each time, so that two tasks
with the same agent share one object.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar, cast

from crewrun.crew.agent import Agent
from crewrun.crew.crew import Crew
from crewrun.crew.task import Task
from crewrun.errors import DefinitionError
from crewrun.llm.sync import settled
from crewrun.project.hooks import hooks_of
from crewrun.references import shown

Kind = Literal[
    "agent",
    "task",
    "crew",
    "llm",
    "tool",
    "callback",
    "cache_handler",
    "output_json",
    "output_pydantic",
    "before_kickoff",
    "after_kickoff",
]
F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)
T = TypeVar("T")

_KIND = "_crewrun_kind"
MADE = "_crewrun_made"
_CLASSES: dict[str, type] = {"agent": Agent, "task": Task, "crew": Crew}


def agent(method: F) -> F:
    """Mark a method that makes an Agent. An agent without a name gets the method's."""
    return _once("agent", method)


def task(method: F) -> F:
    """Mark a method that makes a Task. A task without a name gets the method's."""
    return _once("task", method)


def crew(method: F) -> F:
    """Mark the method that makes the Crew. The class's kickoff hooks are attached to what it returns."""
    return _once("crew", method)


def llm(method: F) -> F:
    """Mark a method that makes a model, for `llm:` in agents.yaml."""
    return _once("llm", method)


def tool(method: F) -> F:
    """Mark a method that makes a tool, for `tools:` in both files."""
    return _once("tool", method)


def callback(method: F) -> F:
    """Mark a method for `step_callback:`, `callback:` and `callbacks:`. It returns a callback or is one."""
    return _once("callback", method)


def cache_handler(method: F) -> F:
    """Accepted without effect: crewrun has no cache of tool results."""
    return _once("cache_handler", method)


def output_json(cls: C) -> C:
    """Mark a pydantic class for `output_json:` in tasks.yaml."""
    return _marked("output_json", cls)


def output_pydantic(cls: C) -> C:
    """Mark a pydantic class for `output_pydantic:` in tasks.yaml."""
    return _marked("output_pydantic", cls)


def before_kickoff(method: F) -> F:
    """Mark a method that gets each kickoff's inputs. It returns the inputs to use, or None to leave them."""
    return _marked("before_kickoff", method)


def after_kickoff(method: F) -> F:
    """Mark a method that gets each kickoff's output. It returns the output to use, or None to leave it."""
    return _marked("after_kickoff", method)


def names_of(cls: type, kind: Kind) -> list[str]:
    """The attributes of `cls` that are marked as `kind`, in order of definition, those of base classes first."""
    kinds: dict[str, Any] = {}
    for part in reversed(cls.__mro__):
        for name, value in vars(part).items():
            mark = getattr(value, "__dict__", {}).get(_KIND)
            if mark is not None or name in kinds:
                kinds[name] = mark
    return [name for name, mark in kinds.items() if mark == kind]


def _marked(kind: Kind, value: T) -> T:
    setattr(value, _KIND, kind)
    return value


def _once(kind: Kind, method: F) -> F:
    name = method.__name__

    @wraps(method)
    def once(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            return _finished(kind, method, settled(method(self, *args, **kwargs)), self)
        results = vars(self).setdefault(MADE, {})
        if method not in results:
            results[method] = MADE  # while it is being made
            try:
                results[method] = _finished(kind, method, settled(method(self)), self)
            finally:
                if results[method] is MADE:
                    del results[method]
        elif results[method] is MADE:
            raise DefinitionError(f"{_place(method)}: @{kind} {name} needs itself to be made; break the circle")
        return results[method]

    return cast("F", _marked(kind, once))


def _finished(kind: Kind, method: Callable[..., Any], result: Any, owner: Any) -> Any:
    expected = _CLASSES.get(kind)
    if expected is None:
        return result
    if not isinstance(result, expected):
        what = "nothing" if result is None else f"a {type(result).__module__}.{type(result).__qualname__}"
        raise DefinitionError(
            f"{_place(method)}: @{kind} {method.__name__} returns {what.replace('builtins.', '')}, "
            f"not crewrun's {expected.__name__}"
        )
    if isinstance(result, Crew):
        result.name = result.name or type(owner).__name__
        result.before_kickoff_callbacks = [*result.before_kickoff_callbacks, *_bound(owner, "before_kickoff")]
        result.after_kickoff_callbacks = [*result.after_kickoff_callbacks, *_bound(owner, "after_kickoff")]
        result.set_hooks(hooks_of(owner))
    elif isinstance(result, Agent | Task):
        result.name = result.name or method.__name__
    return result


def _bound(owner: Any, kind: Kind) -> list[Callable[..., Any]]:
    return [getattr(owner, name) for name in names_of(type(owner), kind)]


def _place(method: Callable[..., Any]) -> str:
    code = inspect.unwrap(method).__code__
    return f"{shown(code.co_filename)}:{code.co_firstlineno}"
