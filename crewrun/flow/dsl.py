"""The decorators of a flow's methods, `start`, `listen` and `router`, and the conditions `and_` and `or_`.

A decorator returns the function itself and marks it; `crewrun.flow.graph` reads the marks when the class is created.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import isfunction, unwrap
from typing import Any, TypeVar, Union

from crewrun.errors import DefinitionError
from crewrun.references import shown

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "_crewrun_mark"


@dataclass(frozen=True, slots=True)
class Named:
    """Holds when the method with this name has ended, or a router has returned this label.

    `is_method` says that the user passed the function itself.
    """

    name: str
    is_method: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds when every part has occurred since it last held."""

    parts: "tuple[Condition, ...]"

    def __str__(self) -> str:
        return f"and_({', '.join(map(str, self.parts))})"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds when one part has occurred."""

    parts: "tuple[Condition, ...]"

    def __str__(self) -> str:
        return f"or_({', '.join(map(str, self.parts))})"


Condition = Named | AllOf | AnyOf
# The argument of a decorator: a method, its name, a label, or a condition.
Trigger = Union[str, Callable[..., Any], Named, AllOf, AnyOf]  # noqa: UP007  (forms a real type, for the annotations)


@dataclass(frozen=True, slots=True)
class Mark:
    """What the decorators of one method say together. `emits` are the labels that `router(emit=…)` lists.

    A router without a condition, from any of its decorators, is a start.
    """

    is_start: bool = False
    starts_at_once: bool = False
    is_router: bool = False
    condition: Condition | None = None
    emits: tuple[str, ...] | None = None


class Decorator:
    """What `start(…)`, `listen(…)` and `router(…)` return: a decorator that marks the method."""

    __slots__ = ("_condition", "_mark", "word")

    def __init__(self, word: str, condition: Condition | None, mark: Mark) -> None:
        self.word = word
        self._condition = condition
        self._mark = mark

    def __call__(self, method: F) -> F:
        """Return the same function. Raises DefinitionError for anything else, and for a second condition."""
        if not isfunction(method):
            raise DefinitionError(f"@{self.word}(…) is for a method of a flow, not for {method!r}")
        before = mark_of(method) or Mark()
        if before.condition and self._condition:
            raise DefinitionError(
                f"{place_of(method)}: {method.__qualname__} has two conditions, {before.condition} and "
                f"{self._condition}; say which is meant with or_(…) or and_(…)"
            )
        merged = replace(
            before,
            is_start=before.is_start or self._mark.is_start,
            starts_at_once=before.starts_at_once or self._mark.starts_at_once,
            is_router=before.is_router or self._mark.is_router,
            condition=before.condition or self._condition,
            emits=before.emits if self._mark.emits is None else self._mark.emits,
        )
        setattr(method, _MARK, merged)
        return method


def start(condition: Trigger | None = None) -> Decorator:
    """The method begins the flow. With a condition it waits for that, like a listener.

    If every start has a condition, all of them also begin the flow.
    """
    parsed = None if condition is None else _condition(condition, "start")
    return Decorator("start", parsed, Mark(is_start=True, starts_at_once=condition is None))


def listen(condition: Trigger) -> Decorator:
    """The method runs whenever `condition` becomes true. If it has a parameter, it gets the latest result."""
    return Decorator("listen", _condition(condition, "listen"), Mark())


def router(condition: Trigger | None = None, *, emit: Sequence[str] | str | None = None) -> Decorator:
    """The method listens, and what it returns is, as text, a label that others listen to; None ends its branch.

    Declare the labels with `-> Literal["a", "b"]` or with `emit`. Without a condition it takes the condition of another
    decorator on the same method; if no decorator has one, the flow begins with this method.
    """
    emits = (emit,) if isinstance(emit, str) else None if emit is None else tuple(map(str, emit))
    parsed = None if condition is None else _condition(condition, "router")
    return Decorator("router", parsed, Mark(is_router=True, emits=emits))


def and_(*conditions: Trigger) -> AllOf:
    """All of `conditions`, in any order."""
    return AllOf(_parts(conditions, "and_"))


def or_(*conditions: Trigger) -> AnyOf:
    """The first of `conditions`. A listener runs once for it, and once more in each lap of a loop back to it."""
    return AnyOf(_parts(conditions, "or_"))


def mark_of(method: object) -> Mark | None:
    """The mark that decorators left on `method`; None if it is not a flow method."""
    mark = getattr(method, _MARK, None) if callable(method) else None
    return mark if isinstance(mark, Mark) else None


def place_of(method: Callable[..., Any]) -> str:
    """`flow.py:14`, where the method is defined."""
    code = getattr(unwrap(method), "__code__", None)
    return f"{shown(code.co_filename)}:{code.co_firstlineno}" if code else "?"


def _parts(conditions: Sequence[Trigger], word: str) -> tuple[Condition, ...]:
    if not conditions:
        raise DefinitionError(f"{word}() is empty; name the methods or labels that it is made of")
    return tuple(_condition(trigger, word) for trigger in conditions)


def _condition(trigger: Trigger, word: str) -> Condition:
    if isinstance(trigger, Named | AllOf | AnyOf):
        return trigger
    if isinstance(trigger, str):
        return Named(trigger)
    name = getattr(trigger, "__name__", None)
    if isinstance(name, str):
        return Named(name, is_method=True)
    if isinstance(trigger, Decorator):
        raise DefinitionError(
            f"{word}(…) names a method under @{trigger.word}: write @{trigger.word}() with its parentheses"
        )
    raise DefinitionError(f"{word}({trigger!r}): name a method, a label, or a condition made by and_(…) or or_(…)")
