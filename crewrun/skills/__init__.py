"""Agent Skills: folders with a SKILL.md. Prompts have their descriptions; agents load their instructions when needed.

`models` has `Skill`, `parser` reads a SKILL.md, `loader` finds the skills that `skills=` names, `catalog` writes their
part of an agent's prompt, and `tool` loads instructions and files. The modules have the names of CrewAI's; the form of
a SKILL.md is https://agentskills.io/specification
"""

from crewrun.skills.loader import activate_skill, discover_skills, load_skill, load_skills
from crewrun.skills.models import Skill, SkillFrontmatter
from crewrun.skills.parser import SkillParseError

__all__ = [
    "Skill",
    "SkillFrontmatter",
    "SkillParseError",
    "activate_skill",
    "discover_skills",
    "load_skill",
    "load_skills",
]
