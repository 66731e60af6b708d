"""Converts JSON Schemas to the subset that OpenAI's strict mode allows, which other providers have adopted.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas: every object is closed and requires all
its properties, every schema has a type, unions are `anyOf`, a `$ref` has no siblings, nothing has a default.

Keywords that only limit a value, such as `minimum`, `pattern` or `format`, are left out: providers differ in which of
them they accept, an unaccepted one fails the request, and the answer is validated against the full schema anyway. A
keyword that shapes a value and has no strict form, such as an open object, makes the whole schema non-strict.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any
from urllib.parse import unquote

_ABOUT = frozenset({"title", "description"})
_KEYWORDS = _ABOUT | frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const"}
    | {"anyOf", "oneOf", "allOf", "$ref"}
)
# Keywords that strict mode does not support. All others are limits or annotations, and left out.
_NOT_STRICT = frozenset(
    {"not", "if", "then", "else", "dependentSchemas", "dependentRequired", "dependencies", "patternProperties"}
    | {"propertyNames", "minProperties", "maxProperties", "unevaluatedProperties", "unevaluatedItems", "prefixItems"}
    | {"additionalItems", "contains", "minContains", "maxContains", "$id", "$anchor", "$dynamicAnchor", "$dynamicRef"}
    | {"$recursiveAnchor", "$recursiveRef"}
)
_DEFINITIONS = ("$defs", "definitions")
# References with descriptions are replaced by their definitions, to keep the descriptions. That can double a schema at
# every level, so this limits the work; OpenAI itself allows 5,000 properties.
_MOST_SCHEMAS = 5000
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
_SCALAR_TYPES = {"boolean", "number", "string", "null"}


def strict_form(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """`schema` in the strict subset, None if it cannot be expressed there.

    An answer that follows the strict form also validates against `schema`, apart from the limits that are left out:
    optional properties are always present, and defaults lose their meaning. Recursive references remain references.
    """
    try:
        return _Fitting(schema).fit_root()
    except (_NotStrict, RecursionError):
        return None


class _NotStrict(Exception):
    pass


class _Fitting:
    """The conversion of one schema. Definitions are converted when something refers to them, and otherwise left out."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = {word: part for word, part in root.items() if word not in (*_DEFINITIONS, "$id")}
        self._definitions = {group: root.get(group) for group in _DEFINITIONS}
        self._fitted: dict[str, Any] = {}
        self._open: list[str] = []  # references being expanded around the current position
        self._schemas_left = _MOST_SCHEMAS

    def fit_root(self) -> dict[str, Any]:
        """Convert the whole schema. Its root must be an object, not a union or a reference."""
        if None not in self._definitions.values():
            raise _NotStrict  # both may define the same name
        fitted = self._fit(self._root, keep_reference=False)
        if fitted.get("type") != "object":
            raise _NotStrict
        return {**fitted, "$defs": self._fitted} if self._fitted else fitted

    def _fit(self, schema: Any, *, keep_reference: bool = True) -> dict[str, Any]:
        before = len(self._open)
        fitted = self._shape(self._flat(schema, keep_reference=keep_reference))
        del self._open[before:]
        return fitted

    def _flat(self, schema: Any, *, keep_reference: bool) -> dict[str, Any]:
        """`schema` with `allOf` merged and with any `$ref` that has siblings replaced by its definition."""
        flat = self._keywords(schema)
        while True:
            if "allOf" in flat:
                parts = flat.pop("allOf")
                if not (isinstance(parts, list) and len(parts) == 1):
                    raise _NotStrict
                flat = _merged(self._keywords(parts[0]), flat)
            elif "$ref" in flat and not (keep_reference and len(flat) == 1):
                reference = flat.pop("$ref")
                if reference in self._open:  # expanding it would never end
                    if not keep_reference or flat.keys() - _ABOUT:
                        raise _NotStrict
                    return {"$ref": reference}
                self._open.append(reference)
                flat = _merged(self._keywords(self._lookup(reference)[1]), flat)
            else:
                return flat

    def _keywords(self, schema: Any) -> dict[str, Any]:
        self._schemas_left -= 1
        if not isinstance(schema, dict) or schema.keys() & _NOT_STRICT or self._schemas_left < 0:
            raise _NotStrict
        return {word: part for word, part in schema.items() if word in _KEYWORDS}

    def _shape(self, flat: dict[str, Any]) -> dict[str, Any]:
        about: dict[str, Any] = {word: flat.pop(word) for word in ("title", "description") if word in flat}
        unions = flat.keys() & {"anyOf", "oneOf"}
        if "$ref" in flat:
            return {"$ref": self._reference(flat["$ref"])}
        if unions:
            if len(flat) > 1:
                raise _NotStrict
            return about | self._union(flat[min(unions)], exactly_one="oneOf" in unions)
        if "enum" in flat or "const" in flat:
            return _scalars(flat) | about
        kinds = _kinds(flat)
        shaped: dict[str, Any] = {"type": kinds if isinstance(flat.get("type"), list) else kinds[0], **about}
        if "array" in kinds:
            shaped["items"] = self._fit(flat.get("items"))
        return shaped | (self._closed(flat) if "object" in kinds else {})

    def _closed(self, flat: dict[str, Any]) -> dict[str, Any]:
        properties = flat.get("properties")
        is_closed = flat.get("additionalProperties") is False
        if properties is None and is_closed:
            properties = {}
        if not isinstance(properties, dict) or not (is_closed or "additionalProperties" not in flat):
            raise _NotStrict
        if not properties.keys() >= set(flat.get("required", ())):
            raise _NotStrict
        return {
            "properties": {name: self._fit(part) for name, part in properties.items()},
            "required": list(properties),
            "additionalProperties": False,
        }

    def _union(self, parts: Any, *, exactly_one: bool) -> dict[str, Any]:
        if not (isinstance(parts, list) and parts):
            raise _NotStrict
        fitted = [self._fit(part) for part in parts]
        if exactly_one and not all(self._are_disjoint(one, other) for one, other in combinations(fitted, 2)):
            raise _NotStrict
        return {"anyOf": fitted}

    def _are_disjoint(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        """Whether types, or a property that distinguishes them, show that no value fits both."""
        one, other = self._resolved(one), self._resolved(other)
        if not (_type_set(one) & _type_set(other)):
            return bool(_type_set(one) and _type_set(other))
        if _type_set(one) | _type_set(other) != {"object"}:
            mine, others = _allowed(one), _allowed(other)
            return mine is not None and others is not None and not mine & others
        shared = one["properties"].keys() & other["properties"].keys()
        return any(self._tells_apart(one["properties"][name], other["properties"][name]) for name in shared)

    def _tells_apart(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        mine, others = _allowed(self._resolved(one)), _allowed(self._resolved(other))
        return mine is not None and others is not None and not mine & others

    def _resolved(self, fitted: dict[str, Any]) -> dict[str, Any]:
        """`fitted`, or the target of its reference; empty if that is still being converted."""
        if "$ref" not in fitted:
            return fitted
        return self._fitted.get(fitted["$ref"].rpartition("/")[2]) or {}

    def _reference(self, reference: Any) -> str:
        if reference == "#":
            return "#"
        name, definition = self._lookup(reference)
        if name not in self._fitted:
            self._fitted[name] = {}  # found by references to itself
            self._fitted[name] = self._fit(definition)
        return f"#/$defs/{name}"

    def _lookup(self, reference: Any) -> tuple[str, Any]:
        """A definition, and its name as written in references."""
        for group in _DEFINITIONS:
            prefix = f"#/{group}/"
            if isinstance(reference, str) and reference.startswith(prefix):
                name = reference.removeprefix(prefix)
                definitions = self._definitions[group]
                plain = unquote(name).replace("~1", "/").replace("~0", "~")
                if "/" not in name and isinstance(definitions, dict) and plain in definitions:
                    return name, definitions[plain]
        raise _NotStrict


def _merged(inner: dict[str, Any], outer: dict[str, Any]) -> dict[str, Any]:
    """One schema for values that fit both; title and description are those of `outer`.

    If both have keywords other than `type` they are not merged, since each may forbid what the other requires.
    """
    shapes = inner.keys() - _ABOUT, outer.keys() - _ABOUT
    if all(shape - {"type"} for shape in shapes):
        raise _NotStrict
    if "type" in inner and "type" in outer and inner["type"] != outer["type"]:
        raise _NotStrict
    return {**inner, **outer}


def _kinds(flat: dict[str, Any]) -> list[str]:
    """The declared types, or those that the other keywords imply."""
    declared = flat.get("type")
    if declared is None:
        if flat.keys() & {"properties", "required", "additionalProperties"}:
            return ["object"]
        if "items" in flat:
            return ["array"]
        raise _NotStrict
    kinds = declared if isinstance(declared, list) else [declared]
    if not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise _NotStrict
    return kinds


def _scalars(flat: dict[str, Any]) -> dict[str, Any]:
    """An `enum` or `const` with its type added."""
    if flat.keys() & {"properties", "items", "additionalProperties"} or {"enum", "const"} <= flat.keys():
        raise _NotStrict
    values = flat["enum"] if "enum" in flat else [flat["const"]]
    if not isinstance(values, list) or not values or any(type(value) not in _TYPES for value in values):
        raise _NotStrict
    kinds = sorted({_TYPES[type(value)] for value in values})
    types = flat.get("type") or (kinds if len(kinds) > 1 else kinds[0])
    if not _type_set({"type": types}) <= _SCALAR_TYPES:
        raise _NotStrict
    return {"type": types, **{word: flat[word] for word in ("enum", "const") if word in flat}}


def _type_set(fitted: dict[str, Any]) -> set[str]:
    """The types of a converted schema, with integers counted as numbers; empty if unknown."""
    kinds = fitted.get("type", [])
    return {"number" if kind == "integer" else kind for kind in ([kinds] if isinstance(kinds, str) else kinds)}


def _allowed(fitted: dict[str, Any]) -> set[tuple[str, Any]] | None:
    """The values that an enum or const allows, None for other schemas. Booleans are marked, since True == 1."""
    values: Iterable[Any] | None = fitted.get("enum", [fitted["const"]] if "const" in fitted else None)
    return None if values is None else {("boolean" if isinstance(v, bool) else "", v) for v in values}
