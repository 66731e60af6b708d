"""`load_skills`: loads the skills that `skills=` names."""

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
    """The skills for the value of a field `skills`. Raises DefinitionError."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise DefinitionError(f"skills needs a list of folders, not {type(value).__name__}")
    return load_skills(value, activate=False)


def load_skills(skills: Iterable[Any], source: Any = None, *, activate: bool = True) -> list[Skill]:
    """The skills for each of `skills`, as by `load_skill`; of several with one name, the first."""
    by_name: dict[str, Skill] = {}
    for entry in skills:
        for skill in load_skill(entry, activate=activate):
            by_name.setdefault(skill.name, skill)
    return list(by_name.values())


def load_skill(skill: Any, source: Any = None, *, activate: bool = True) -> list[Skill]:
    """The skills for a Skill, the text of a SKILL.md, or the path of a skill's folder or of a folder of such folders.

    With `activate`, prompts have the instructions of skills from folders too. Raises DefinitionError.
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
    discovered = discover_skills(find(text))
    return [activate_skill(skill) for skill in discovered] if activate else discovered


def discover_skills(search_path: Path, source: Any = None) -> list[Skill]:
    """The skills in the folders of `search_path`, by name, or the skill that it is itself. Raises DefinitionError."""
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
    """`skill`, so that prompts have its instructions."""
    if skill.disclosure_level >= INSTRUCTIONS:
        return skill
    return skill.with_disclosure_level(INSTRUCTIONS, skill.body).with_body(skill.body)
