"""`Recipe`: which of the user's functions and methods a row calls, and with which of its fields."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crewrun.aio.concurrency import call
from crewrun.errors import InputInvalid
from crewrun.llm.sync import settled
from crewrun.references import shown
from crewrun.target.arguments import Arguments
from crewrun.target.methods import KICKOFFS, is_bound_late, method_of


@dataclass(frozen=True, slots=True)
class Step:
    """A function, and the arguments that it gets from a row."""

    function: Callable[..., Any]
    arguments: Arguments

    @classmethod
    def of(cls, function: Callable[..., Any], what: str) -> "Step":
        """The step that calls `function`, which messages call `what`."""
        return cls(function, Arguments.of(function, f"{what}()"))

    async def run(self, row: Mapping[str, Any]) -> Any:
        """Call the function for `row`. An async function is awaited, a sync one runs in a worker thread."""
        positional, named = self.arguments.bind(row)
        return await call(self.function, *positional, **named)


@dataclass(frozen=True, slots=True)
class MethodStep:
    """The method `name` of what the previous step returned."""

    name: str
    arguments: Arguments

    @classmethod
    def of(cls, kind: type, name: str, what: str) -> "MethodStep":
        """The method of objects of `kind`, which messages call `what`."""
        function = method_of(kind, name)
        return cls(
            name,
            Arguments.of(
                function, f"{what}.{name}()", is_method=is_bound_late(kind, name), is_kickoff=name in KICKOFFS
            ),
        )

    async def run(self, result: Any, row: Mapping[str, Any]) -> Any:
        """Call the method of `result` for `row`."""
        positional, named = self.arguments.bind(row)
        return await call(getattr(result, self.name), *positional, **named)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a row calls: `make` if there is one, then `method` of its result or of `owner`.

    `source` is the user's code behind this, for the identity of a run.
    """

    what: str
    source: Any
    make: Step | None = None
    method: MethodStep | None = None
    owner: Any = None

    @property
    def needs_row(self) -> bool:
        """Whether it cannot be called without a row."""
        return any(arguments.needs_row for arguments in self._all)

    @property
    def required(self) -> dict[str, str]:
        """The fields that every row must have, each with what needs it."""
        return {name: place for arguments in reversed(self._all) for name, place in arguments.required.items()}

    @property
    def takes_others(self) -> bool:
        """Whether it takes all fields of a row."""
        return any(arguments.takes_others for arguments in self._all)

    @property
    def optional(self) -> frozenset[str]:
        """The fields that a row may have, which override defaults."""
        return frozenset().union(*(arguments.names for arguments in self._all))

    @property
    def place(self) -> str:
        """Where the code is, as `demo.py:12`."""
        code = getattr(inspect.unwrap(self.source), "__code__", None) if not inspect.isclass(self.source) else None
        return f"{shown(code.co_filename)}:{code.co_firstlineno}" if code is not None else self.what

    def problem(self, row: Mapping[str, Any]) -> str | None:
        """Why `row` does not fit, None if it does."""
        try:
            for arguments in self._all:
                arguments.bind(row)
        except InputInvalid as invalid:
            return str(invalid)
        return None

    def run_now(self, row: Mapping[str, Any]) -> Any:
        """The same as `run` in the current thread, for a load, which does not follow the user's code into others."""
        result = self.owner
        for step in (self.make, self.method):
            if step is not None:
                function = step.function if isinstance(step, Step) else getattr(result, step.name)
                positional, named = step.arguments.bind(row)
                result = settled(function(*positional, **named))
        return result

    async def run(self, row: Mapping[str, Any]) -> Any:
        """Call all of it for `row` and return the last result. Raises InputInvalid, and what the user's code raises."""
        result = await self.make.run(row) if self.make is not None else self.owner
        return await self.method.run(result, row) if self.method is not None else result

    @property
    def _all(self) -> list[Arguments]:
        return [step.arguments for step in (self.make, self.method) if step is not None]
