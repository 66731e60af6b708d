"""How replies of models that take no tools are read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewrun.crew.text_protocol import Actions, ToolUse, read_reply


def known(name: str) -> str | None:
    """The tools of these tests."""
    name = name.rpartition(".")[2].strip().lower()
    return name if name in ("look", "clock", "x") else None


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        pytest.param("It was dark.\nObservation: stars", "It was dark.\nObservation: stars", id="plain-answer"),
        pytest.param("Final Answer: Method\nObservation: 3", "Method\nObservation: 3", id="final-answer"),
        pytest.param("Observation: none\nFinal Answer: 3", "3", id="before-the-final-answer"),
        pytest.param(
            "It is so.\nObservation: dark\nAction: look\nAction Input: {}\n**Observation:** light\nFinal Answer: 4",
            Actions(
                "It is so.\nObservation: dark\nAction: look\nAction Input: {}",
                "It is so.\nObservation: dark",
                (ToolUse("look", "{}"),),
            ),
            id="before-and-after-an-action",
        ),
        pytest.param(
            "Action: look\nObservation: light", Actions("Action: look", "", (ToolUse("look", ""),)), id="no-input"
        ),
        pytest.param(
            "**Action 1:** look\n\n \n**Action 1 Input 1:** ant\nfinal answer: 4",
            Actions("**Action 1:** look\n\n \n**Action 1 Input 1:** ant", "", (ToolUse("look", "ant"),)),
            id="numbered-and-bold",
        ),
        pytest.param("Action:  \nlook", "Action:  \nlook", id="nothing-named"),
    ],
)
def test_only_what_follows_an_action_is_made_up(reply: str, read: Actions | str) -> None:
    """An answer may have a line that begins with `Observation:`."""
    assert read_reply(reply, known) == read


@pytest.mark.parametrize("blank", ["\n", "\n ", " ", "\r\n", "*"], ids=repr)
@pytest.mark.parametrize("before", ["Action: x", "Action:", "Action", "Final Answer", "Action: x\nAction Input", ""])
def test_a_reply_of_blank_lines_costs_its_length(before: str, blank: str) -> None:
    """A pattern that tries all ways to share them out would take minutes."""
    reply = f"{before}{blank * 200_000}\nz"
    read = read_reply(reply, known)
    assert (read.text if isinstance(read, Actions) else read) == reply.strip()


_MARKS = [
    *("<tool_call>", "<function=look>", '<invoke name="look">', "<tool_call>look <arg_key>", "<arg_key>a</arg_key>"),
    *("[TOOL_CALLS]look", "look[ARGS]", "look<｜tool▁sep｜>{", "to=functions.look", "<|message|>", "<parameter=x>"),
    *('{"name":"look","arguments":', '[{"name":"look","arguments":{}},', '{"name":"look","arguments":{}}', "{'"),
    *("Action: look ", "Action: look\n", "Action: a(", "Action Input: ", "Final Answer:", "Observation:", "Thought:"),
    *("```", "\n", " ", "<", "a.", "look(", '"'),
]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(_MARKS), min_size=1, max_size=3), st.lists(st.sampled_from(_MARKS), max_size=2))
def test_a_reply_of_marks_costs_its_length(pieces: list[str], before: list[str]) -> None:
    """Whatever repeats in it; where each mark is looked for up to the end of the reply, this takes minutes."""
    piece = "".join(pieces)
    reply = "".join(before) + piece * (60_000 // len(piece))
    for in_words in (True, False):
        read = read_reply(reply, known, in_words=in_words)
        assert isinstance(read, str) or read.text in reply
