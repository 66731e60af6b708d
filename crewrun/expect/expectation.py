"""`Expectation`: one entry of `expect:`. A `Check` is one thing that it asks of an output."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from crewrun.aio.concurrency import call
from crewrun.errors import DefinitionError
from crewrun.expect.arguments import OF_EXPECTATIONS, arguments_of, wanted
from crewrun.expect.comparison import Comparison, contains, is_equal, shown
from crewrun.expect.field_path import UNCHECKED, FieldPath, NoValue, field_of_output, kind_of
from crewrun.llm.schema import NotValid, OutputSchema
from crewrun.loading.user_code import place_of
from crewrun.patterns import Pattern, PatternTooSlow

# A function of an expectation that takes longer counts as missed, so that it cannot block its row.
_LONGEST_S = 60.0
_WHOLE = FieldPath("output", "output", ())


class Check(Protocol):
    """One thing that is asked of an output."""

    @property
    def inputs(self) -> frozenset[str] | None:
        """The fields of the row that it reads; None if it may read any."""
        ...

    @property
    def paths(self) -> Sequence[FieldPath]:
        """The paths of the output and of the row that it names."""
        ...

    async def fault(self, roots: Mapping[str, Any]) -> str | None:
        """Why the output does not pass, None if it does. `roots` are the output and the row by their names."""
        ...


@dataclass(frozen=True, slots=True)
class Expectation:
    """All of its `checks` must pass."""

    checks: tuple[Check, ...]

    async def fault(self, roots: Mapping[str, Any]) -> str | None:
        """Why it is missed, None if it is met. What a check raises is the reason too."""
        for check in self.checks:
            try:
                fault = await check.fault(roots)
            except (NoValue, PatternTooSlow) as missing:
                fault = str(missing)
            except Exception as failed:
                place = place_of(failed)
                fault = f"{UNCHECKED}{f'{place}: ' if place else ''}{type(failed).__name__}: {failed}"
            if fault is not None:
                return fault
        return None


@dataclass(frozen=True, slots=True)
class Compared:
    """That a comparison holds."""

    comparison: Comparison

    @property
    def inputs(self) -> frozenset[str] | None:
        """See `Check`."""
        return self.comparison.inputs

    @property
    def paths(self) -> Sequence[FieldPath]:
        """See `Check`."""
        return [side for side in (self.comparison.left, self.comparison.right) if isinstance(side, FieldPath)]

    async def fault(self, roots: Mapping[str, Any]) -> str | None:
        """See `Check`."""
        return self.comparison.fault(roots)


@dataclass(frozen=True, slots=True)
class Called:
    """That a function of the user's returns true."""

    function: Callable[..., Any]
    name: str
    parameters: tuple[str, ...]

    @property
    def inputs(self) -> frozenset[str] | None:
        """See `Check`."""
        return frozenset() if self.parameters == ("output",) else None

    @property
    def paths(self) -> Sequence[FieldPath]:
        """See `Check`."""
        return ()

    async def fault(self, roots: Mapping[str, Any]) -> str | None:
        """See `Check`. Raises what the function raises."""
        arguments = arguments_of(self.parameters, roots)
        answer = None
        with anyio.move_on_after(_LONGEST_S) as limit:  # and no TimeoutError, which the function may raise itself
            answer = await call(self.function, **arguments)
        if limit.cancelled_caught:
            return f"{UNCHECKED}{self.name} took longer than {_LONGEST_S:g} s"
        if not isinstance(answer, bool):
            return f"{UNCHECKED}{self.name} returned {shown(answer)}, and an expectation returns True or False"
        return None if answer else f"{self.name} returned False"


@dataclass(frozen=True, slots=True)
class Validated:
    """That a value validates against a JSON Schema."""

    path: FieldPath
    schema: OutputSchema
    inputs: frozenset[str] | None = frozenset()

    @property
    def paths(self) -> Sequence[FieldPath]:
        """See `Check`."""
        return (self.path,)

    async def fault(self, roots: Mapping[str, Any]) -> str | None:
        """See `Check`."""
        try:
            self.schema.check(self.path.value(roots))
        except NotValid as invalid:
            return str(invalid)
        return None


@dataclass(frozen=True, slots=True)
class Tested:
    """That a value passes a `test`; `words` say what it then does, such as `contains "x"`."""

    path: FieldPath
    test: Callable[[Any], bool]
    words: str
    inputs: frozenset[str] | None = frozenset()

    @property
    def paths(self) -> Sequence[FieldPath]:
        """See `Check`."""
        return (self.path,)

    async def fault(self, roots: Mapping[str, Any]) -> str | None:
        """See `Check`."""
        value = self.path.value(roots)
        return None if self.test(value) else f"{self.path.text} is {shown(value)}, and not: {self.words}"


def expectation_of(fields: Mapping[str, Any]) -> Expectation:
    """The expectation of a mapping with `field` and at least one of schema, equals, contains, matches and python.

    `schema` is a JSON Schema, `matches` a compiled pattern, `python` a `Called`. Raises DefinitionError.
    """
    path = _WHOLE
    if fields.get("field") is not None:
        path = _path(fields["field"])
    checks: list[Check] = []
    if fields.get("schema") is not None:
        checks.append(Validated(path, OutputSchema.of_json_schema(fields["schema"], "expect")))
    if "equals" in fields:
        expected = fields["equals"]
        checks.append(Tested(path, lambda value: is_equal(value, expected), f"equals {shown(expected)}"))
    if fields.get("contains") is not None:
        part = fields["contains"]
        checks.append(Tested(path, lambda value: contains(value, part), f"contains {shown(part)}"))
    if fields.get("matches") is not None:
        checks.append(_matching(path, fields["matches"]))
    if fields.get("python") is not None:
        called: Called = fields["python"]
        checks.append(called)
    if not checks:
        raise DefinitionError("says nothing of the output; it needs schema, equals, contains, matches or python")
    return Expectation(tuple(checks))


def _path(text: str) -> FieldPath:
    path = field_of_output(text)
    if path is None:
        raise DefinitionError(f"field {text!r} is no path; write it as in items[0].price")
    return path


def called_of(function: Callable[..., Any], name: str) -> Called:
    """The check by a function. Raises DefinitionError for parameters that nothing fills."""
    return Called(function, name, wanted(function, name, OF_EXPECTATIONS))


def _matching(path: FieldPath, pattern: Pattern) -> Tested:
    def test(value: Any) -> bool:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise NoValue(f"{path.text} is {kind_of(value)}, not a text")
        return pattern.occurs_in(value)

    return Tested(path, test, f"matches {pattern.source}")
