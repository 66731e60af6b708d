"""Placeholders: what CrewAI fills in, and what it leaves alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.errors import InputInvalid
from crewrun.templates import compile_template


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        pytest.param("{topic}", "AI", id="a name"),
        pytest.param("{a-b} {_x}", "1 2", id="hyphen and underscore"),
        pytest.param('{"a": 1} { topic } {0} {} { {', '{"a": 1} { topic } {0} {} { {', id="other braces"),
        pytest.param("{{topic}}", "{AI}", id="double braces"),
        pytest.param("{none} {true} {list}", "None True [1, 'x']", id="values as Python writes them"),
        pytest.param("{braces}", "{topic}", id="a value is not a template"),
    ],
)
def test_a_template_is_filled_as_crewai_fills_it(text: str, filled: str) -> None:
    """One pass, str() of the value, unknown braces untouched."""
    inputs = {"topic": "AI", "a-b": 1, "_x": 2, "none": None, "true": True, "list": [1, "x"], "braces": "{topic}"}
    assert compile_template(text).render(inputs, "here") == filled


def test_a_missing_value_names_variable_and_place() -> None:
    """And the nearest input."""
    with pytest.raises(
        InputInvalid, match=r"missing input 'topic', needed by tasks\.t\.description; the inputs have 'topics'"
    ):
        compile_template("{topic}").render({"topics": 1}, "tasks.t.description")


@given(text=st.text(alphabet="{}ab_- 0\"'", max_size=40), value=st.text(max_size=20))
def test_rendering_equals_replacing_each_placeholder_once(text: str, value: str) -> None:
    """Against the definition: cut the text at its placeholders, put the value between the pieces."""
    import re

    expected = value.join(re.split(r"\{[A-Za-z_][A-Za-z0-9_\-]*\}", text))
    template = compile_template(text)
    assert template.render(dict.fromkeys(template.names, value), "here") == expected
