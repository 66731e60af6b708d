"""`Arguments`: how a row's fields become the arguments of one of the user's functions.

Each parameter gets the field of its name, converted to the type of its annotation (`conversion`). If no field has its
name, these get the whole row: a parameter `inputs`, a parameter whose type is a model, and the only mapping.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crewrun.errors import InputInvalid
from crewrun.target.base import problem_of_missing
from crewrun.target.conversion import Conversion, conversion_for

_WHOLE = "inputs"
_MANY = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_UNKNOWN = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `takes_row` means that it gets the whole row if no field has its name."""

    name: str
    conversion: Conversion
    takes_row: bool
    is_positional: bool
    is_required: bool


@dataclass(frozen=True, slots=True)
class Arguments:
    """The parameters of a function, which messages call `what`. `takes_others` means that it has a `**kwargs`.

    A function without a known signature, and a kickoff that passes everything on, get `inputs`.
    """

    what: str
    parameters: tuple[Parameter, ...]
    takes_others: bool = False
    is_unknown: bool = False

    @classmethod
    def of(
        cls, function: Callable[..., Any], what: str, *, is_method: bool = False, is_kickoff: bool = False
    ) -> "Arguments":
        """The arguments of `function`, without the `self` of a method that is not bound yet."""
        try:
            all_parameters = list(inspect.signature(function).parameters.values())[1 if is_method else 0 :]
        except (TypeError, ValueError, NameError):  # written in C, without a signature
            return cls(what, (), is_unknown=True)
        named = [p for p in all_parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if is_kickoff and all_parameters and not named:
            return cls(what, (), is_unknown=True)
        conversions = {p.name: conversion_for(p.annotation, function) for p in named}
        mappings = [p.name for p in named if p.default is _UNKNOWN and conversions[p.name].is_mapping]
        whole = {_WHOLE} | (set(mappings) if len(mappings) == 1 else set())
        return cls(
            what,
            tuple(
                Parameter(
                    p.name,
                    conversions[p.name],
                    takes_row=p.name in whole or conversions[p.name].is_model,
                    is_positional=p.kind is p.POSITIONAL_ONLY,
                    is_required=p.default is _UNKNOWN,
                )
                for p in named
            ),
            # With both, as in a decorator's wrapper, the real parameters are unknown.
            takes_others={p.kind for p in all_parameters} & _MANY == {inspect.Parameter.VAR_KEYWORD},
        )

    @property
    def needs_row(self) -> bool:
        """Whether it cannot be called without a row: it has required parameters, or takes the whole row."""
        return any(p.is_required or p.takes_row for p in self.parameters)

    @property
    def names(self) -> frozenset[str]:
        """The names of its parameters."""
        return frozenset(parameter.name for parameter in self.parameters)

    @property
    def required(self) -> dict[str, str]:
        """The fields that every row must have, each with the function that needs it."""
        names: dict[str, str] = {}
        for parameter in self.parameters:
            if parameter.conversion.is_model and parameter.is_required:
                names |= dict.fromkeys(parameter.conversion.fields, f"{self.what}, {parameter.name}")
            elif parameter.is_required and not parameter.takes_row:
                names[parameter.name] = self.what
        return names

    def bind(self, row: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The positional and keyword arguments for `row`. Raises InputInvalid if one is missing or does not fit."""
        if self.is_unknown:
            return [], {_WHOLE: dict(row)}
        needed = {p.name: self.what for p in self.parameters if p.is_required and not p.takes_row}
        if missing := problem_of_missing(needed, row):
            raise InputInvalid(missing)
        positional, named = [], {}
        for parameter in self.parameters:
            if parameter.name in row:
                value = self._converted(parameter, row[parameter.name], parameter.name)
            elif parameter.takes_row and (parameter.is_required or parameter.name == _WHOLE):
                value = self._converted(parameter, dict(row), None)
            elif parameter.is_positional:
                break  # those after it have defaults too
            else:
                continue
            if parameter.is_positional:
                positional.append(value)
            else:
                named[parameter.name] = value
        if self.takes_others:
            named |= {name: value for name, value in row.items() if name not in self.names}
        return positional, named

    def _converted(self, parameter: Parameter, value: Any, field: str | None) -> Any:
        try:
            return parameter.conversion.convert(value)
        except ValueError as unfit:
            what = f"field {field!r}" if field else "the row"
            raise InputInvalid(f"{what} does not fit {parameter.name!r} of {self.what}: {unfit}") from None
