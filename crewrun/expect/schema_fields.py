"""`undeclared`: whether a path leads to a field that a JSON Schema does not have."""

from collections.abc import Mapping, Sequence
from typing import Any

from crewrun.errors import suggest

# What may allow fields that `properties` does not name.
_OTHER_WAYS = frozenset({"allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas", "$dynamicRef"})


def undeclared(schema: Mapping[str, Any], steps: Sequence[str | int]) -> tuple[str, bool] | None:
    """The step of a path that `schema` has no field for, in words, and whether it allows no others. None for a path
    that it has, and where it does not say.
    """
    part: Any = schema
    for step in steps:
        part = _resolved(part, schema)
        if not isinstance(part, Mapping) or _OTHER_WAYS & part.keys():
            return None
        if isinstance(step, int):
            part = None if "prefixItems" in part else part.get("items")
            continue
        fields = part.get("properties")
        if not isinstance(fields, Mapping):
            return None
        if step not in fields:
            others = part.get("additionalProperties", part.get("unevaluatedProperties", True))
            names = list(map(str, fields))
            there = suggest(step, names) or f"; it has {', '.join(names)}"
            return (f"no field {step!r}{there}", others is False) if isinstance(others, bool) else None
        part = fields[step]
    return None


def _resolved(part: Any, schema: Mapping[str, Any]) -> Any:
    """`part`, or the definition in the same schema that it refers to."""
    for _ in range(20):  # references may go in a circle
        reference = part.get("$ref") if isinstance(part, Mapping) else None
        if not isinstance(reference, str):
            return part
        part = schema if reference == "#" else _definition(reference, schema)
    return None


def _definition(reference: str, schema: Mapping[str, Any]) -> Any:
    kind, _, name = reference.removeprefix("#/").partition("/")
    group = schema.get(kind) if reference.startswith("#/") else None
    return group.get(name) if isinstance(group, Mapping) else None
