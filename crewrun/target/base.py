"""`Target`: what a batch runs, and what every kind of it is asked before a row runs."""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

from crewrun.errors import nearest
from crewrun.llm.model import LLM

ACCEPTED = (
    "a crew, a flow or its class, a @CrewBase class, a class or an object with one of akickoff, kickoff_async, "
    "kickoff, run, crew, create_crew and execute, or a function that returns a crew or runs one"
)


class Target(Protocol):
    """What a batch runs: our crew, or anything that keeps these three promises.

    One that knows more of its rows has `problem(inputs)` too: why a row cannot be run, None when it can.
    """

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


class Inspection:
    """Says of each row whether `target` can run it, without a call."""

    def __init__(self, target: Target) -> None:
        self._needed = dict(target.placeholders)
        self._finds_all = getattr(target, "finds_missing", False)
        self._more = getattr(target, "problem", None)

    def problem(self, inputs: Mapping[str, Any]) -> str | None:
        """Why a row with `inputs` cannot be run, None when it can."""
        if not self._finds_all and (missing := problem_of_missing(self._needed, inputs)):
            return missing
        return None if self._more is None else self._more(inputs)


def problem_of_missing(needed: Mapping[str, str], inputs: Mapping[str, Any]) -> str | None:
    """What to say of the `needed` names that `inputs` lack, None when they have all."""
    missing = [name for name in needed if name not in inputs]
    if not missing:
        return None
    named = ", ".join(f"{name!r} (needed by {needed[name]})" for name in missing)
    near = nearest(missing[0], list(inputs))
    return f"missing {named}{f'; the row has {near!r}' if near else ''}"


def kind_of(found: Any) -> str:
    """What `found` is, in words: `an int`, `the class demo.Trip`."""
    if found is None:
        return "None"
    kind = found if inspect.isclass(found) else type(found)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if inspect.isclass(found):
        return f"the class {name}"
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"
