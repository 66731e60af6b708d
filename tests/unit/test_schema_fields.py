"""Which fields a JSON Schema says an output has."""

from typing import Any

import pytest

from crewrun.expect.schema_fields import undeclared

DEEP = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "free": {"type": "object"},
        "either": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/item"}]},
        "typed": {"properties": {"a": {}}, "additionalProperties": {"type": "number"}},
        "circle": {"$ref": "#/$defs/circle"},
        "elsewhere": {"$ref": "https://example.com/schema"},
    },
    "$defs": {
        "item": {"properties": {"price": {"type": "number"}}, "additionalProperties": False},
        "circle": {"$ref": "#/$defs/circle"},
    },
}


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        (("items", 0, "price"), None),
        (("items", 0, "prize"), ("no field 'prize' (did you mean 'price'?)", True)),
        (("item",), ("no field 'item' (did you mean 'items'?)", False)),
        (("free", "x"), None),
        (("either", "x"), None),
        (("typed", "b"), None),
        (("circle", "x"), None),
        (("elsewhere", "x"), None),
        (("items", "price"), None),
        ((), None),
    ],
)
def test_a_field_is_undeclared_only_where_the_schema_says_so(steps: tuple[Any, ...], fault: Any) -> None:
    """References are followed; where other fields may come from elsewhere, nothing is said."""
    assert undeclared(DEEP, steps) == fault
