"""Agent Skills: folders with a SKILL.md, whose descriptions agents see and whose instructions they ask for.

`models` is what a skill is, `parser` reads one, `loader` finds them by what `skills=` says, `catalog` is what an agent
has of them, and `tool` gives it the rest. CrewAI's import paths are the modules' names; the form of a SKILL.md is
https://agentskills.io/specification
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
