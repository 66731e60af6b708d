"""Placeholders: what is filled in by which key, and what stays as it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun.crew.kickoff import LeftOpen
from crewrun.errors import CrewrunWarning, InputInvalid
from crewrun.templates import alike, compile_template

_KEYS = st.text(alphabet="Tt k_-9é", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        pytest.param("{topic}", "AI", id="a name"),
        pytest.param("{a-b} {_x}", "1 2", id="hyphen and underscore"),
        pytest.param('{"a": 1} {0} {} { {', '{"a": 1} {0} {} { {', id="other braces"),
        pytest.param("{{topic}}", "{AI}", id="double braces"),
        pytest.param("{none} {true} {list}", "None True [1, 'x']", id="values as Python writes them"),
        pytest.param("{braces}", "{topic}", id="a value is not a template"),
        pytest.param("{Topic} {TO-PIC}", "AI AI", id="another case, a hyphen"),
        pytest.param("{ topic }", "AI", id="blanks around a name"),
        pytest.param("{Ticket ID} {ticket_id} {ticketid} {TICKET-ID}", "7 7 7 7", id="a column with a blank"),
        pytest.param("{Größe (cm)}", "180", id="letters and signs that CrewAI has not"),
        pytest.param("{Ticket IDs} {ticket.id}", "{Ticket IDs} {ticket.id}", id="other spellings stay"),
        pytest.param("{{Ticket ID}} {{ topic }}", "{{Ticket ID}} {{ topic }}", id="another language's template stays"),
        pytest.param('{"a": {topic}}', '{"a": AI}', id="inside JSON"),
        pytest.param("{Zeile\numbruch}", "2", id="a line break in a header"),
    ],
)
def test_a_template_is_filled_as_crewai_fills_it(text: str, filled: str) -> None:
    """One pass, str() of the value; braces without a key are untouched."""
    inputs = {"topic": "AI", "a-b": 1, "_x": 2, "none": None, "true": True, "list": [1, "x"], "braces": "{topic}"}
    inputs |= {"Ticket ID": 7, "Größe (cm)": 180, "Zeile\numbruch": 2}
    assert compile_template(text).render(inputs, "here") == filled


@pytest.mark.parametrize(
    ("text", "filled", "unfilled"),
    [
        pytest.param("{{topic}} {topic}", "{topic} AI", "{topic} {topic}", id="doubled braces are single ones"),
        pytest.param("{{{topic}}}", "{AI}", "{{topic}}", id="three: a value in braces"),
        pytest.param("{{{{topic}}}}", "{{topic}}", "{{topic}}", id="four: two"),
        pytest.param("{{Ticket ID}}", "{Ticket ID}", "{{Ticket ID}}", id="a column"),
        pytest.param("{{{Ticket ID}}}", "{7}", "{{{Ticket ID}}}", id="a column in braces"),
        pytest.param(
            "{{ topic }} {{other one}}", "{{ topic }} {{other one}}", "{{ topic }} {{other one}}", id="no key"
        ),
        pytest.param('{"a": {"b": {{topic}}}}', '{"a": {"b": {topic}}}', '{"a": {"b": {topic}}}', id="inside JSON"),
        pytest.param('{"a": {"b": {}}}', '{"a": {"b": {}}}', '{"a": {"b": {}}}', id="JSON"),
        pytest.param("{{missing}}", "{missing}", "{missing}", id="needs no value"),
    ],
)
def test_doubled_braces_of_a_crew_yaml_stand_for_single_ones(text: str, filled: str, unfilled: str) -> None:
    """As in f-strings, where the text between them would be filled in; any other braces stay as they are."""
    template = compile_template(text, doubled=True)
    assert template.render({"topic": "AI", "Ticket ID": 7}, "here") == filled
    assert template.unfilled == unfilled


def test_a_missing_value_names_variable_and_place() -> None:
    """And the nearest input."""
    with pytest.raises(
        InputInvalid, match=r"missing input 'topic', needed by tasks\.t\.description; the inputs have 'topics'"
    ):
        compile_template("{topic}").render({"topics": 1}, "tasks.t.description")


@pytest.mark.parametrize("text", ["{ticket_id}", "{Ticket  ID}"])
def test_two_keys_that_are_alike_are_refused_unless_one_is_equal(text: str) -> None:
    """The message names both, and what to write."""
    template = compile_template(text)
    with pytest.raises(InputInvalid) as refused:
        template.render({"Ticket ID": 1, "Ticket-ID": 2}, "tasks.t.description")
    assert str(refused.value) == (
        f"tasks.t.description: {text} may be 'Ticket ID' or 'Ticket-ID': write one of them between the braces, or "
        f"choose one with --map '{text[1:-1]}=Ticket ID'"
    )
    assert template.render({"Ticket ID": 1, "Ticket-ID": 2, text[1:-1]: 3}, "here") == "3"


def test_a_crew_in_a_flow_finds_inputs_that_are_spelled_differently() -> None:
    """Before it leaves a placeholder open, with a warning."""
    template, inputs = compile_template("{ticket_id} {who} {Ticket ID}"), LeftOpen({"Ticket-ID": 7})
    with pytest.warns(CrewrunWarning, match="a crew in a flow has no input 'who'"):
        assert template.render(inputs, "here") == "7 {who} 7"


@pytest.mark.parametrize(
    "spelling", ["Größe", "gro\u0308sse", "GRÖSSE", "Grö\u00adße", "\ufeffGröße", "Grö\u2011ße", "Grö\u00a0ße"]
)
def test_names_are_alike_if_they_look_alike(spelling: str) -> None:
    """Composed or not, with hyphens and blanks that nobody sees."""
    assert alike(spelling) == alike("größe")


@given(text=st.text(alphabet="{}ab_- 0\"'", max_size=40), value=st.text(max_size=20))
def test_rendering_equals_replacing_each_placeholder_once(text: str, value: str) -> None:
    """Against the definition: cut the text at its placeholders, put the value between the pieces."""
    expected = value.join(re.split(r"\{[A-Za-z_][A-Za-z0-9_\-]*\}", text))
    template = compile_template(text)
    without = {name for name in template.others if alike(name) in map(alike, template.names)}
    if not without:
        assert template.render(dict.fromkeys(template.names, value), "here") == expected


@given(
    rows=st.lists(st.dictionaries(_KEYS, st.integers(0, 9)), min_size=1, max_size=4),
    names=st.lists(_KEYS, max_size=3),
)
def test_a_row_gets_its_own_values_and_no_value_is_a_template(rows: list[dict[str, int]], names: list[str]) -> None:
    """Whatever the keys of the rows before, and in whichever order they come; `{{x}}` of a crew.yaml survives."""
    template = compile_template("".join(f"<{{{name}}}>" for name in names) + "{{x}}", doubled=True)
    for number, row in enumerate(rows):
        values = {key: f"{{{number}:{value}:{{Tk}}}}" for key, value in row.items()}
        expected = []
        for name in names:
            keys = [name] if name in row else [key for key in row if alike(key) == alike(name) != ""]
            expected.append(keys)
        is_refused = any(
            len(keys) > 1 or (not keys and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_\-]*", name))
            for name, keys in zip(names, expected, strict=True)
        )
        if is_refused:
            with pytest.raises(InputInvalid):
                template.render(values, "here")
            continue
        pieces = [values[keys[0]] if keys else f"{{{name}}}" for name, keys in zip(names, expected, strict=True)]
        assert template.render(values, "here") == "".join(f"<{piece}>" for piece in pieces) + "{x}"
