"""Regular expressions of the user: searched for within a time limit."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.errors import DefinitionError
from crewrun.expect.comparison import compiled
from crewrun.llm.schema import NotValid, OutputSchema
from crewrun.patterns import LONGEST_S, Pattern, PatternTooSlow

CATASTROPHIC = r"(a|aa)+$"
TEXT = "a" * 60 + "b"


def test_a_search_without_end_is_given_up() -> None:
    """The standard library's would take longer than anybody waits."""
    began = time.monotonic()
    with pytest.raises(PatternTooSlow, match="was given up after 1 s"):
        Pattern(CATASTROPHIC).occurs_in(TEXT)
    assert time.monotonic() - began < 20 * LONGEST_S


def test_the_pattern_of_a_schema_has_the_same_limit() -> None:
    """It is the model's text that is searched."""
    schema = OutputSchema.of_json_schema({"type": "string", "pattern": CATASTROPHIC}, "task")
    with pytest.raises(NotValid, match="was given up"):
        schema.check(TEXT)
    schema = OutputSchema.of_json_schema({"type": "string", "pattern": "^[A-Z]{2}$"}, "task")
    schema.check("DE")
    with pytest.raises(NotValid, match="does not match"):
        schema.check("de")


@given(text=st.text(alphabet="ab1 .-\n", max_size=20))
@pytest.mark.parametrize("source", [r"^\d+$", r"(?i)AB", r"\bab\b", r"[^a]{2}", r"a|b.1", r"(?<=a)b(?!1)", r"(a)\1"])
def test_what_matches_is_what_the_standard_library_says(source: str, text: str) -> None:
    """Users write for that."""
    assert Pattern(source).occurs_in(text) == (re.search(source, text) is not None)


@pytest.mark.parametrize("source", ["(", "*a", "[", "(?P<a"])
def test_what_is_no_expression_is_refused(source: str) -> None:
    """With the reason, when the crew is loaded."""
    with pytest.raises(DefinitionError, match="is not a regular expression"):
        compiled(source)
