"""Agent Skills: descriptions in the prompt, instructions and files when the agent asks for them."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.workspace import Place

from crewrun import Agent, CrewrunWarning, DefinitionError
from crewrun.skills import Skill, activate_skill, discover_skills
from crewrun.skills.tool import LoadSkillTool, loader_of

REFUNDS = "---\nname: refunds\ndescription: How refunds are paid.\n---\nPay in pesos. See references/limits.txt."


def put(folder: Path, text: str = REFUNDS, name: str = "refunds") -> Path:
    """A skill in `folder/skills`, with a file."""
    skill = folder / "skills" / name
    (skill / "references").mkdir(parents=True)
    (skill / "SKILL.md").write_text(text)
    (skill / "references" / "limits.txt").write_text("The limit is 500.")
    return skill


def skills_in(place: Place, skills: str) -> None:
    """Give the agent those skills."""
    text = place.crew().replace("    role: Writer\n", f"    role: Writer\n    skills: {skills}\n")
    (place.folder / "crew.yaml").write_text(text)


def agent(**fields: Any) -> Agent:
    """An agent of the offline model."""
    return Agent(role="r", goal="g", backstory="b", llm="offline", **fields)


def test_the_prompt_has_the_description_and_check_the_name(place: Place) -> None:
    """The instructions are not in it."""
    put(place.folder)
    skills_in(place, "[skills]")
    place.crewrun("check", "-m", "offline")
    system = place.stdout.partition("[system] ")[2].partition("[user] ")[0]
    assert '<skill name="refunds">\nHow refunds are paid.\n</skill>' in system
    assert "pesos" not in system
    assert "  skills: refunds\n" in place.stdout


def test_a_model_that_asks_gets_the_instructions(place: Place) -> None:
    """With the names of the files beside them."""
    put(place.folder)
    skills_in(place, "[skills/refunds]")
    place.rows({"topic": "CALL-load_skill"})
    place.batch()
    assert place.mock.ledger(last=1)["requests"][0]["messages"][-1]["content"] == (
        '<skill name="refunds">\nHow refunds are paid.\n\nPay in pesos. See references/limits.txt.\n\n'
        "Its files: references/limits.txt\n</skill>"
    )


def test_a_fifo_beside_it_is_waited_for_by_nobody(place: Place) -> None:
    """Neither for the crew's identity, nor to see whether a file has a secret in it."""
    os.mkfifo(put(place.folder) / "pipe.txt")
    skills_in(place, "[skills]")
    place.rows({"topic": "CALL-load_skill"})
    assert place.batch() == ["Write about CALL-load_skill"] * 2
    assert "pipe" not in str(place.mock.ledger(last=1)["requests"][0]["messages"])


def test_a_catalog_that_fills_prompts_is_a_warning(place: Place) -> None:
    """Each row pays for it."""
    for number in range(40):
        put(place.folder, f"---\nname: s{number}\ndescription: {'x' * 900}\n---\n", f"s{number}")
    skills_in(place, "[skills]")
    place.crewrun("check", "-m", "offline")
    assert "agent 'writer': its 40 skills take about 9," in place.stdout


def test_and_the_files_below_the_skill_and_no_others(tmp_path: Path) -> None:
    """A model's word leads nowhere else."""
    put(tmp_path)
    (tmp_path / "skills" / "out.txt").write_text("out")
    (tmp_path / "skills" / "refunds" / ".env").write_text("KEY=x")
    (skill,) = discover_skills(tmp_path / "skills")
    tool = loader_of({"refunds": skill}, "load_skill")
    assert tool.run("refunds", "references/limits.txt") == "The limit is 500."
    for path in ("../out.txt", "/etc/passwd", ".env"):
        with pytest.raises(PermissionError):
            tool.run("refunds", path)
    with pytest.raises(FileNotFoundError, match=r"the skill 'refunds' has no file 'x\.txt'"):
        tool.run("refunds", "x.txt")
    assert tool.run("refund") == "There is no skill 'refund' (did you mean 'refunds'?). Available: refunds."


def test_an_inline_or_activated_skill_is_in_the_prompt_whole(tmp_path: Path) -> None:
    """As in CrewAI: a skill object keeps its level."""
    put(tmp_path)
    (skill,) = discover_skills(tmp_path / "skills")
    for given in (REFUNDS, activate_skill(skill)):
        one = agent(skills=[given])
        system = one.kickoff("x").messages[0]["content"]
        assert system.startswith('<skills>\n<skill name="refunds">\nHow refunds are paid.\n\nPay in pesos.')
        assert not one.background.toolbox(one.toolbox)


def test_a_tool_of_the_same_name_does_not_hide_the_skills() -> None:
    """The loader then has another name, which the prompt says."""
    mine = LoadSkillTool(description="mine")
    skill = Skill(frontmatter={"name": "a", "description": "b"}, path=Path())  # type: ignore[arg-type]  # pydantic's
    one = agent(skills=[skill], tools=[mine])
    assert list(one.background.toolbox(one.toolbox).tools) == ["load_skill", "load_skill_2"]
    assert "`load_skill_2`" in one.background.system_text(one.toolbox)


def test_a_changed_skill_makes_another_crew(place: Place) -> None:
    """Rows that are done by other instructions are not taken for done: what the tool gave is asked of it again, and
    only the calls behind it are paid for.
    """
    skill = put(place.folder)
    skills_in(place, "[skills]")
    place.rows({"topic": "ants"})
    assert [len(place.batch()), len(place.batch())] == [2, 0]
    (skill / "SKILL.md").write_text(REFUNDS.replace("pesos", "soles"))
    assert len(place.batch()) == 1
    assert "soles" in place.mock.ledger(last=1)["requests"][0]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Pay in pesos.", "skills/refunds/SKILL.md: has no front matter; a skill begins with ---\\nname: refunds"),
        ("---\nname: refunds", "its front matter has no end; write a line of --- after it"),
        ("---\nname: [\n---\n", "its front matter is not valid YAML: "),
        ("---\n- a\n---\n", "its front matter is no mapping; it has `name` and `description`"),
        ("---\nname: refunds\n---\n", "skills/refunds/SKILL.md: description: Field required"),
        ("---\nname: Refunds!\ndescription: x\n---\n", "skills/refunds/SKILL.md: name: String should match pattern"),
        ("---\nname: refund\ndescription: x\n---\n", "its name is 'refund' and its folder's 'refunds'; give both"),
    ],
)
def test_a_skill_that_is_none_is_a_fault_of_the_definition(place: Place, text: str, told: str) -> None:
    """With its file, and before any call."""
    put(place.folder, text)
    skills_in(place, "[skills]")
    place.rows({"topic": "ants"})
    assert place.batch(code=2) == []
    assert place.stderr.startswith("crewrun: crew.yaml:4: agents.writer.skills[0]: ")
    assert told in place.stderr


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("nowhere", "no file 'nowhere'; looked for "),
        ("empty", "has no skill in it; a skill is a folder with a SKILL.md"),
        ("@acme/refunds", "crewrun fetches no skills from a registry; put the skill's folder into the project"),
        (7, "7 is no skill; write the path of a folder with skills in it"),
    ],
)
def test_skills_that_are_nowhere_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Any, told: str
) -> None:
    """With the way out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DefinitionError) as refused:
        agent(skills=[entry])
    assert told in str(refused.value)


def test_long_instructions_are_warned_of() -> None:
    """They fill a model's context when they are loaded."""
    with pytest.warns(CrewrunWarning, match="its instructions have 60,000 characters"):
        agent(skills=["---\nname: a\ndescription: b\n---\n" + "x" * 60_000])
