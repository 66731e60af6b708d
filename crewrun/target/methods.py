"""Which method of the user's class runs it, or makes what runs."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

from crewrun.errors import DefinitionError

KICKOFFS = ("akickoff", "kickoff_async", "kickoff")
_OTHERS = ("run", "crew", "create_crew", "execute")


def has_kickoff(value: Any) -> bool:
    """Whether `value` is an object with a kickoff method."""
    return any(callable(getattr(value, name, None)) for name in KICKOFFS)


def may_run(value: Any) -> bool:
    """Whether `value` is an object with a method that runs it: a kickoff, or one of `_OTHERS` if it is not data."""
    if inspect.isclass(value):
        return False
    is_data = isinstance(value, BaseModel)
    return has_kickoff(value) or (not is_data and any(_is_method(type(value), name) for name in _OTHERS))


def entrance_of(kind: type, what: str) -> str:
    """The name of the method of `kind` that a row calls. Raises DefinitionError with a list of its methods.

    The forms of kickoff count as one method. Of several methods it is the one that calls the others.
    """
    kickoff = next((name for name in KICKOFFS if _is_method(kind, name)), None)
    entrances = [*([kickoff] if kickoff else []), *(name for name in _OTHERS if _is_method(kind, name))]
    called = set().union(*(_names_in(kind, name) - {name} for name in entrances))
    if called & set(KICKOFFS):
        called |= set(KICKOFFS)
    outer = [name for name in entrances if name not in called]
    if len(entrances) == 1 or len(outer) == 1:
        return (outer if len(outer) == 1 else entrances)[0]
    if entrances:
        raise DefinitionError(
            f"{what} has several methods that could be meant, {', '.join(entrances)}; "
            f"name one of them: {what}.{entrances[0]}"
        )
    methods = [name for name in dir(kind) if not name.startswith("_") and _is_method(kind, name)]
    way_out = f"Name the one to call, as in {what}.{methods[0]}" if methods else "Write one that returns the crew"
    raise DefinitionError(
        f"{what} has none of the methods {', '.join((*KICKOFFS, *_OTHERS))}; it has {', '.join(methods) or 'none'}. "
        f"{way_out}"
    )


def owner_of(value: Any) -> type | None:
    """The class of the unbound method `value`; None for any other function."""
    if not inspect.isfunction(value):
        return None
    *path, name = value.__qualname__.split(".")
    if not path or "<locals>" in path:
        return None
    owner: Any = inspect.unwrap(value).__globals__.get(path[0])
    for part in path[1:]:
        owner = getattr(owner, part, None)
    return owner if inspect.isclass(owner) and inspect.getattr_static(owner, name, None) is value else None


def is_bound_late(kind: type, name: str) -> bool:
    """Whether the method is called on an object, which is its first parameter."""
    return not isinstance(inspect.getattr_static(kind, name), staticmethod | classmethod)


def method_of(kind: type, name: str) -> Callable[..., Any]:
    """The method as an attribute of the class."""
    method: Callable[..., Any] = getattr(kind, name)
    return method


def _is_method(kind: type, name: str) -> bool:
    return callable(getattr(kind, name, None)) and not inspect.isclass(getattr(kind, name))


def _names_in(kind: type, name: str) -> set[str]:
    """The names that the method's own code uses."""
    code = getattr(inspect.unwrap(getattr(kind, name)), "__code__", None)
    names: Sequence[str] = getattr(code, "co_names", ())
    return set(names)
