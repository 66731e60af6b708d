"""What of a row the user's functions may ask for: `wanted` says which of it a function's parameters name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crewrun.errors import DefinitionError, suggest

OF_EXPECTATIONS = ("output", "input", "row")
OF_SCORES = (*OF_EXPECTATIONS, "result")


def wanted(function: Callable[..., Any], name: str, names: Sequence[str]) -> tuple[str, ...]:
    """Which of `names` the parameters of `function`, called `name` in messages, ask for.

    Raises DefinitionError for a parameter that cannot be filled, and for a function that asks for nothing.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError, NameError):
        raise DefinitionError(f"{name}: its parameters cannot be read; wrap it in a function(output)") from None
    others = {parameter.kind for parameter in parameters}
    if inspect.Parameter.VAR_KEYWORD in others:
        return tuple(names)
    wrong = [
        one for one in parameters if _is_needed(one) and (one.name not in names or one.kind is one.POSITIONAL_ONLY)
    ]
    if wrong:
        if wrong[0].kind is inspect.Parameter.POSITIONAL_ONLY:
            raise DefinitionError(f"{name}: its parameters are filled by their names; remove the / behind them")
        near = suggest(wrong[0].name, names)
        advice = near or f"; it may have {', '.join(names[:-1])} and {names[-1]}"
        raise DefinitionError(f"{name}: nothing fills its parameter {wrong[0].name!r}{advice}")
    fillable = tuple(one.name for one in parameters if one.name in names)
    if not fillable:
        raise DefinitionError(f"{name}: has no parameter {', '.join(names[:-1])} or {names[-1]}, so it sees no row")
    return fillable


def arguments_of(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of these `names`, each a copy that the function may change. `values` are JSON."""
    return {name: _copy(values[name]) for name in names}


def _is_needed(parameter: inspect.Parameter) -> bool:
    is_many = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return not is_many and parameter.default is parameter.empty


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value
