"""Runs that older versions began go on: what their crews are known by has not changed where what they do has not."""

from typing import Any

import pytest

from crewrun import Agent, Crew, Task
from crewrun.fingerprint import fingerprint
from crewrun.tools.base import BaseTool

# As the version before there were knowledge and skills had them.
PLAIN = "9b90133b1cddbb2e407c96d69b92b94a"
OF_A_FILE = "558e3d42af7160ade97301f59ad7a803"
OPENAI = {"provider": "openai", "config": {"model": "text-embedding-3-small"}}


def crew(agent: dict[str, Any], task: dict[str, Any], **fields: Any) -> Crew:
    """One task of one agent."""
    worker = Agent(role="R", goal="g", backstory="b", **agent)
    return Crew(agents=[worker], tasks=[Task(description="do", expected_output="e", agent=worker, **task)], **fields)


@pytest.mark.parametrize(
    ("agent", "task", "fields", "known_by"),
    [
        pytest.param({}, {}, {}, PLAIN, id="nothing"),
        pytest.param({}, {}, {"embedder": OPENAI}, PLAIN, id="crew's embedder"),
        pytest.param({"embedder": OPENAI}, {}, {}, PLAIN, id="agent's embedder"),
        pytest.param({"skills": [], "knowledge_sources": []}, {}, {"skills": None}, PLAIN, id="no skills"),
        pytest.param({}, {}, {"output_log_file": "log.json"}, PLAIN, id="log"),
        pytest.param({}, {"output_file": "/tmp/x.md"}, {}, OF_A_FILE, id="absolute output_file"),
    ],
)
def test_fields_without_effect_do_not_make_another_crew(
    agent: dict[str, Any], task: dict[str, Any], fields: dict[str, Any], known_by: str
) -> None:
    """An embedder without knowledge was let through with a warning, as many crews with `memory` have one."""
    assert fingerprint(crew(agent, task, **fields)) == known_by


class Lookup(BaseTool):
    """A user's tool, whose fields are named like those of agents and crews."""

    name: str = "lookup"
    description: str = "Looks things up."
    embedder: Any = None
    skills: tuple[str, ...] = ()
    output_log_file: str = "x"

    def _run(self, what: str) -> str:
        return what


def test_fields_of_a_users_tool_count_whatever_they_are_named() -> None:
    """Leaving them out would take what other code does for the same."""
    plain, other = fingerprint(Lookup()), fingerprint(Lookup(output_log_file="y"))
    assert plain != other
    assert plain != fingerprint(Lookup(embedder=OPENAI))
