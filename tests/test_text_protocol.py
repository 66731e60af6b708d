"""How replies of models that take no tools are read."""

import pytest

from crewrun.crew.text_protocol import Action, read_reply


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        pytest.param("It was dark.\nObservation: stars", "It was dark.\nObservation: stars", id="plain-answer"),
        pytest.param("Final Answer: Method\nObservation: 3", "Method\nObservation: 3", id="final-answer"),
        pytest.param("Observation: none\nFinal Answer: 3", "3", id="before-the-final-answer"),
        pytest.param(
            "It is so.\nObservation: dark\nAction: look\nAction Input: {}\n**Observation:** light\nFinal Answer: 4",
            Action("It is so.\nObservation: dark\nAction: look\nAction Input: {}", "look", "{}"),
            id="before-and-after-an-action",
        ),
        pytest.param("Action: look\nObservation: light", Action("Action: look", "look", ""), id="no-input"),
        pytest.param(
            "**Action 1:** look\n\n \n**Action 1 Input 1:** ant\nfinal answer: 4",
            Action("**Action 1:** look\n\n \n**Action 1 Input 1:** ant", "look", "ant"),
            id="numbered-and-bold",
        ),
        pytest.param("Action:  \nlook", "Action:  \nlook", id="nothing-named"),
    ],
)
def test_only_what_follows_an_action_is_made_up(reply: str, read: Action | str) -> None:
    """An answer may have a line that begins with `Observation:`."""
    assert read_reply(reply) == read


@pytest.mark.parametrize("blank", ["\n", "\n ", " ", "\r\n", "*"], ids=repr)
@pytest.mark.parametrize("before", ["Action: x", "Action:", "Action", "Final Answer", "Action: x\nAction Input", ""])
def test_a_reply_of_blank_lines_costs_its_length(before: str, blank: str) -> None:
    """A pattern that tries all ways to share them out would take minutes."""
    reply = f"{before}{blank * 200_000}\nz"
    read = read_reply(reply)
    assert (read.said if isinstance(read, Action) else read) == reply.strip()
