"""`LoadSkillTool`: loads the instructions of a skill, and the files that they name."""

from pathlib import Path

from pydantic import Field, create_model

from crewrun.confinement.place import inside, open_regular, place_in
from crewrun.confinement.private_files import why_private
from crewrun.errors import suggest
from crewrun.skills.models import Skill
from crewrun.tools.base import BaseTool

LOAD_SKILL_TOOL_NAME = "load_skill"

# How much of a skill's file a model gets, like CrewAI's limit for instructions; more takes most of a small context.
_MAX_CHARS = 50_000
# How many of a skill's files are listed with its instructions, which name the important ones themselves.
_MAX_LISTED = 50


_SKILL = "The exact name of an available skill."
_FILE = "A file of the skill, which its instructions name; left out for the instructions."


def loader_of(catalog: dict[str, Skill], name: str) -> "LoadSkillTool":
    """The tool `name` for the skills in `catalog`; its schema lists their names."""
    names = Field(description=_SKILL, json_schema_extra={"enum": list(catalog)})
    arguments = create_model(
        "LoadSkillSchema", skill_name=(str, names), file=(str | None, Field(default=None, description=_FILE))
    )
    return LoadSkillTool(name=name, args_schema=arguments, catalog=catalog)


class LoadSkillTool(BaseTool):
    """Gives the instructions of one of `catalog`, or the text of a file below its folder."""

    name: str = LOAD_SKILL_TOOL_NAME
    description: str = (
        "Load the full instructions of an available skill, or a file that they name. Most requests need no skill: "
        "call this only when a skill's description fits the request."
    )
    catalog: dict[str, Skill] = Field(default_factory=dict, repr=False)

    def _run(self, skill_name: str, file: str | None = None) -> str:
        skill = self.catalog.get(skill_name)
        if skill is None:
            names = list(self.catalog)
            return f"There is no skill {skill_name!r}{suggest(skill_name, names)}. Available: {', '.join(names)}."
        return _file(skill, file) if file else _instructions(skill)


def _instructions(skill: Skill) -> str:
    files = skill.files()
    more = f" and {len(files) - _MAX_LISTED} more" if len(files) > _MAX_LISTED else ""
    listed = f"\n\nIts files: {', '.join(files[:_MAX_LISTED])}{more}" if files else ""
    return f'<skill name="{skill.name}">\n{skill.description}\n\n{skill.body}{listed}\n</skill>'


def _file(skill: Skill, name: str) -> str:
    if skill.is_inline:
        return f"The skill {skill.name!r} has no files."
    root = inside(Path.cwd(), skill.path) if not skill.path.is_absolute() else skill.path
    place = place_in(root, name)
    if why := why_private(place):
        raise PermissionError(f"{name!r} is not read, since {why}")
    try:
        with open_regular(place) as file:
            content = file.read(4 * _MAX_CHARS + 1)
    except FileNotFoundError:
        raise FileNotFoundError(f"the skill {skill.name!r} has no file {name!r}") from None
    if b"\0" in content:
        raise ValueError(f"{name!r} is a binary file, not text")
    text = content.decode("utf-8-sig", errors="replace")
    cut = f"\n[… cut after {_MAX_CHARS:,} characters]" if len(text) > _MAX_CHARS else ""
    return f"{text[:_MAX_CHARS]}{cut}"
