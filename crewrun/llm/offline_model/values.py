"""Makes up values for a JSON Schema, which fake models use as tool arguments and answers.

A value is constructed to fit, not validated. The supported keywords are those that pydantic and tool definitions use;
`not`, `if`, `contains` and `dependentRequired` are ignored.
https://json-schema.org/draft/2020-12/json-schema-validation
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from crewrun.llm.offline_model.demands import NoValue, count_in, implied_type, list_in, mapping_in, merge, types_in
from crewrun.llm.offline_model.scalars import number, pick, text

# Limits for hostile or endless schemas, far above what a sensible one needs.
_MAX_STEPS = 5_000
_MAX_DEPTH = 60
_CHARS_PER_STEP = 100


def example(schema: Any, seed_text: str) -> Any:
    """A value that validates against `schema`. The same arguments always give the same value.

    Objects get only their required properties, enums their first value, and texts are `seed_text`, cut or repeated to
    fit. Never raises, and always terminates: if no value fits or is found, it returns {} for an object schema, else
    None.
    """
    try:
        return _Maker(schema, seed_text or "text").make(schema, _SchemaPlace())
    except (NoValue, _TooMuch, RecursionError):
        return {} if isinstance(schema, dict) and schema.get("type") == "object" else None


class _TooMuch(Exception):
    """A limit was reached: the whole attempt is abandoned."""


@dataclass(frozen=True, slots=True)
class _SchemaPlace:
    """A position in the value: references that led here, its depth, and its number among values that must differ."""

    followed: frozenset[str] = frozenset()
    depth: int = 0
    turn: int = 0


class _Maker:
    def __init__(self, root: Any, seed_text: str) -> None:
        self._root = root
        self._seed_text = seed_text
        self._steps = 0

    def make(self, schema: Any, place: _SchemaPlace) -> Any:
        """A value for `schema`. Raises NoValue if none fits, _TooMuch at a limit."""
        if place.depth >= _MAX_DEPTH:
            raise _TooMuch
        flat, choices, place = self._flatten(schema, replace(place, depth=place.depth + 1))
        if choices:
            return self._choose(flat, choices, place)
        if "const" in flat or "enum" in flat:
            return pick(flat, place.turn)
        # Null comes last: an optional value is more useful if it is present.
        kinds = sorted(types_in(flat) or [implied_type(flat)], key="null".__eq__)
        for kind in kinds[:-1]:
            try:
                return self._make_kind(kind, flat, place)
            except NoValue:
                continue
        return self._make_kind(kinds[-1], flat, place)

    def _flatten(self, schema: Any, place: _SchemaPlace) -> tuple[dict[str, Any], list[list[Any]], _SchemaPlace]:
        """`schema` merged with the targets of its `$ref` and `allOf`, and its `anyOf` and `oneOf` lists.

        A finite value never needs the same reference twice on one path, so the second time there is no value.
        """
        flat: dict[str, Any] = {}
        choices: list[list[Any]] = []
        seen: set[str] = set()
        waiting = [schema]
        for part in waiting:
            self._step()
            if part is False:
                raise NoValue
            if not isinstance(part, dict):
                continue
            reference = part.get("$ref")
            if isinstance(reference, str) and reference not in seen:
                if reference in place.followed:
                    raise NoValue
                seen.add(reference)
                waiting.append(self._target(reference))
            waiting += list_in(part, "allOf")
            choices += [part[word] for word in ("anyOf", "oneOf") if list_in(part, word)]
            merge(flat, part)
        return flat, choices, replace(place, followed=place.followed | seen)

    def _step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > _MAX_STEPS:
            raise _TooMuch

    def _target(self, reference: str) -> Any:
        """The target of a JSON pointer such as `#/$defs/Author`, or True, which allows any value."""
        part = self._root if reference == "#" or reference.startswith("#/") else True
        for step in unquote(reference).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(part, list) and name.isdecimal() and int(name) < len(part):
                part = part[int(name)]
            elif isinstance(part, dict):
                part = part.get(name, True)
            else:
                return True
        return part

    def _choose(self, flat: Mapping[str, Any], choices: list[list[Any]], place: _SchemaPlace) -> Any:
        """A value for the first branch of the first choice that has a value."""
        later = [{"anyOf": choice} for choice in choices[1:]]
        for branch in choices[0]:
            try:
                return self.make({"allOf": [flat, branch, *later]}, place)
            except NoValue:
                continue
        raise NoValue

    def _make_kind(self, kind: str, flat: Mapping[str, Any], place: _SchemaPlace) -> Any:
        match kind:
            case "object":
                return self._object(flat, place)
            case "array":
                return self._array(flat, place)
            case "string":
                made = text(flat, self._seed_text, place.turn)
                self._step(len(made) // _CHARS_PER_STEP)
                return made
            case "boolean":
                return place.turn % 2 == 0
            case "null":
                return None
        return number(flat, place.turn, whole=kind == "integer")

    def _object(self, flat: Mapping[str, Any], place: _SchemaPlace) -> dict[str, Any]:
        properties = mapping_in(flat, "properties")
        others = True if mapping_in(flat, "patternProperties") else flat.get("additionalProperties", True)
        required = [name for name in list_in(flat, "required") if isinstance(name, str)]
        value = {name: self.make(properties.get(name, others), place) for name in required}
        spare = [name for name in properties if name not in value]
        while len(value) < count_in(flat, "minProperties", 0):
            name = spare.pop(0) if spare else f"key {len(value) + 1}"
            try:
                value[name] = self.make(properties.get(name, others), place)
            except NoValue:
                if not spare:
                    raise
        return value

    def _array(self, flat: Mapping[str, Any], place: _SchemaPlace) -> list[Any]:
        # Before draft 2020-12, `items` could be a list, which is now called `prefixItems`.
        first = list_in(flat, "prefixItems") or list_in(flat, "items")
        rest = flat.get("additionalItems" if list_in(flat, "items") else "items", True)
        fewest, most = count_in(flat, "minItems", 0), count_in(flat, "maxItems", _MAX_STEPS)
        if fewest > most:
            raise NoValue
        values: list[Any] = []
        for position in range(min(max(fewest, len(first), 1), most)):
            schema = first[position] if position < len(first) else rest
            try:
                values.append(self._item(schema, values, place, unlike=flat.get("uniqueItems") is True))
            except NoValue:
                if position < fewest:
                    raise
                break
        return values

    def _item(self, schema: Any, others: list[Any], place: _SchemaPlace, *, unlike: bool) -> Any:
        if not unlike:
            return self.make(schema, place)
        for turn in range(len(others), 2 * len(others) + 2):
            value = self.make(schema, replace(place, turn=turn))
            if value not in others:
                return value
        raise NoValue
