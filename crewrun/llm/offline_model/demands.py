"""What a JSON Schema demands: reads its keywords defensively, since they may hold anything, and merges two schemas."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
# The type that a keyword implies in a schema without a type.
_IMPLIED: Mapping[str, str] = {
    **dict.fromkeys(("properties", "required", "additionalProperties", "minProperties"), "object"),
    **dict.fromkeys(("items", "prefixItems", "minItems", "uniqueItems"), "array"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
}
_TIGHTER: Mapping[str, Callable[..., Fraction]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}
_ELSEWHERE = frozenset({"$ref", "$defs", "definitions", "allOf", "anyOf", "oneOf"})


class NoValue(Exception):
    """No value fits here; another branch of an anyOf may have one."""


def merge(flat: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Add the demands of `part` to those of `flat`. Raises NoValue if they exclude each other.

    The caller handles references and nested schemas.
    """
    for word, demand in part.items():
        if word in _ELSEWHERE:
            continue
        flat[word] = _both(word, flat, part) if word in flat else demand


def _both(word: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Any:
    match word:
        case "type":
            return _common_types(types_in(ours), types_in(theirs))
        case "required":
            return [*list_in(ours, word), *list_in(theirs, word)]
        case "properties":
            mine, other = mapping_in(ours, word), mapping_in(theirs, word)
            return {**mine, **other, **{name: {"allOf": [mine[name], other[name]]} for name in mine if name in other}}
        case "items" | "additionalProperties":
            return {"allOf": [ours[word], theirs[word]]}
        case "enum":
            return [value for value in list_in(ours, word) if value in list_in(theirs, word)]
        case "const" if ours[word] != theirs[word]:
            raise NoValue
    if word in _TIGHTER:
        bounds = [bound for bound in (fraction_in(ours, word), fraction_in(theirs, word)) if bound is not None]
        return _TIGHTER[word](bounds) if bounds else None
    return theirs[word]


def types_in(schema: Mapping[str, Any]) -> list[str]:
    """The types that `schema` names; an empty list allows every type."""
    named = schema.get("type")
    return [kind for kind in (named if isinstance(named, list) else [named]) if kind in _TYPES]


def implied_type(schema: Mapping[str, Any]) -> str:
    """The type that the keywords of a schema without a type imply."""
    return next((_IMPLIED[word] for word in schema if word in _IMPLIED), "string")


def _common_types(ours: list[str], theirs: list[str]) -> list[str]:
    if not ours or not theirs:
        return ours or theirs
    common = [kind for kind in ours if kind in theirs]
    if "integer" not in common and any("integer" in a and "number" in b for a, b in ((ours, theirs), (theirs, ours))):
        common.append("integer")
    if not common:
        raise NoValue
    return common


def list_in(schema: Mapping[str, Any], word: str) -> list[Any]:
    """The list at `word`, an empty one if there is anything else."""
    value = schema.get(word)
    return value if isinstance(value, list) else []


def mapping_in(schema: Mapping[str, Any], word: str) -> dict[str, Any]:
    """The mapping at `word`, an empty one if there is anything else."""
    value = schema.get(word)
    return value if isinstance(value, dict) else {}


def fraction_in(schema: Mapping[str, Any], word: str) -> Fraction | None:
    """The number at `word` exactly as written: 0.1 is one tenth. None if there is no number."""
    value = schema.get(word)
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(repr(value))
    return Fraction(value) if isinstance(value, int | Fraction) and not isinstance(value, bool) else None


def count_in(schema: Mapping[str, Any], word: str, otherwise: int) -> int:
    """The number at `word` as a count, `otherwise` if there is no valid one."""
    value = fraction_in(schema, word)
    return otherwise if value is None or value < 0 else int(value)
