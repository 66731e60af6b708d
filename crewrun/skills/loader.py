"""From what `skills=` says to skills: `load_skills`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crewrun.errors import DefinitionError
from crewrun.knowledge.places import find
from crewrun.references import shown
from crewrun.skills.models import INSTRUCTIONS, Skill
from crewrun.skills.parser import SKILL_FILENAME, inline_skill, read_skill


def as_skills(value: Any) -> list[Skill] | None:
    """The skills that a field `skills` says. Raises DefinitionError."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise DefinitionError(f"skills needs a list of folders, not {type(value).__name__}")
    return load_skills(value, activate=False)


def load_skills(skills: Iterable[Any], source: Any = None, *, activate: bool = True) -> list[Skill]:
    """The skills that each of `skills` stands for, as `load_skill` says, the first one of each name."""
    found: dict[str, Skill] = {}
    for entry in skills:
        for skill in load_skill(entry, activate=activate):
            found.setdefault(skill.name, skill)
    return list(found.values())


def load_skill(skill: Any, source: Any = None, *, activate: bool = True) -> list[Skill]:
    """A skill as it is, the text of a SKILL.md, or the path of a skill's folder or of one with several such folders.

    With `activate` those in folders are in the prompt with their instructions. Raises DefinitionError.
    """
    if isinstance(skill, Skill):
        return [skill]
    if not isinstance(skill, str | os.PathLike):
        raise DefinitionError(f"skills: {skill!r} is no skill; write the path of a folder with skills in it")
    text = os.fspath(skill)
    if text.startswith("@"):
        raise DefinitionError(
            f"skills: {text!r}: crewrun fetches no skills from a registry; put the skill's folder into the project and "
            "write its path"
        )
    if text.lstrip().startswith(("---\n", "---\r\n")):
        return [inline_skill(text, "skills")]
    found = discover_skills(find(text))
    return [activate_skill(one) for one in found] if activate else found


def discover_skills(search_path: Path, source: Any = None) -> list[Skill]:
    """The skills in the folders of `search_path`, by name, or the one that it is itself. Raises DefinitionError."""
    where = shown(str(search_path))
    if not search_path.is_dir():
        raise DefinitionError(f"skills: {where} is no folder; write the path of a folder with skills in it")
    if (search_path / SKILL_FILENAME).is_file():
        return [read_skill(search_path)]
    folders = sorted(folder for folder in search_path.iterdir() if (folder / SKILL_FILENAME).is_file())
    if not folders:
        raise DefinitionError(f"skills: {where} has no skill in it; a skill is a folder with a {SKILL_FILENAME}")
    return [read_skill(folder) for folder in folders]


def activate_skill(skill: Skill, source: Any = None) -> Skill:
    """`skill` with its instructions in the prompt."""
    if skill.disclosure_level >= INSTRUCTIONS:
        return skill
    return skill.with_disclosure_level(INSTRUCTIONS, skill.body).with_body(skill.body)
