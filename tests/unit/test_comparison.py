"""Comparisons of `expect:`: what is equal, what has an order, and what every value that JSON has does."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.expect.comparison import OPERATORS, is_equal, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def fault(text: str, output: Any, row: Any = None) -> str | None:
    return parse(text).fault({"output": output, "row": row, "input": row})


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("output == 1", 1.0),
        ("output == 12.10", "12.1"),
        ("output == 'yes'", "yes"),
        ("output == true", "True"),
        ("output != true", 1),
        ("output == [1, 'a']", ["1", "a"]),
        ('output == {"a": null}', {"a": None}),
        ("output >= 9007199254740993", "9007199254740993"),
        ("output['unit price'] < 2", {"unit price": 1}),
        ("output.items[-1].a in [1, 2]", {"items": [{"a": 0}, {"a": 2}]}),
        ("output not  in ['a']", "b"),
        ("output contains 'é'", "café"),
        ("output contains 2", [1, "2"]),
        ("output matches '^a.c$'", "abc"),
        ("output not matches 'x'", 12),
        ("'b' in output", "abc"),
        ('output == "it\'s \\"x\\""', 'it\'s "x"'),
    ],
)
def test_it_holds(text: str, output: Any) -> None:
    """Each operator, with the values that it is for."""
    assert fault(text, output) is None


@pytest.mark.parametrize("operator", OPERATORS)
@given(left=JSON, right=JSON)
def test_any_two_values_can_be_compared(operator: str, left: Any, right: Any) -> None:
    """It holds or says why not; it never raises for a row."""
    reason = fault(f"output {operator} row", left, right)
    assert reason is None or reason.strip()


@given(JSON)
def test_every_value_equals_itself(value: Any) -> None:
    """Whatever is nested in it."""
    assert is_equal(value, value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_a_number_equals_its_text(number: Decimal) -> None:
    """As a cell of a CSV has it."""
    assert is_equal(float(number), str(float(number)))


def test_a_row_says_what_it_lacks() -> None:
    """With the name that it may mean."""
    assert fault("output.totl == 1", {"total": 1}) == "the output has no 'totl' (did you mean 'total'?)"
    assert fault("output.total == 1", "text") == (
        "the output is a text, not an object with fields; a task with output_schema makes it one"
    )
    assert fault("output == row.a.b", 1, {"a": [1]}) == "row.a is a list, not an object with fields"
