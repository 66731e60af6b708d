"""Reads a SKILL.md: front matter in YAML between two lines of `---`, then the instructions."""

import re
import warnings
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from crewrun.errors import CrewrunWarning, DefinitionError
from crewrun.knowledge.readers import read
from crewrun.references import shown
from crewrun.skills.models import INSTRUCTIONS, Skill, SkillFrontmatter

SKILL_FILENAME = "SKILL.md"
# CrewAI's limit: longer instructions take a large part of a model's context.
MAX_BODY_CHARS = 50_000
# CrewAI's name for an error in a SKILL.md.
SkillParseError = DefinitionError

_EXAMPLE = "---\\nname: refunds\\ndescription: How to …\\n---"
_END = re.compile(r"\r?\n---[ \t]*(?:\r?\n|$)")


def parse_frontmatter(content: str, where: str = SKILL_FILENAME) -> tuple[dict[str, Any], str]:
    """The front matter in `content`, and the instructions after it. Raises DefinitionError."""
    if not content.startswith("---"):
        raise DefinitionError(f"{where}: has no front matter; a skill begins with {_EXAMPLE}")
    end = _END.search(content, 3)
    if end is None:
        raise DefinitionError(f"{where}: its front matter has no end; write a line of --- after it")
    try:
        frontmatter = yaml.safe_load(content[3 : end.start()])
    except (yaml.YAMLError, RecursionError, ValueError) as wrong:
        reason = " ".join(str(wrong).split())
        raise DefinitionError(f"{where}: its front matter is not valid YAML: {reason}") from None
    if not isinstance(frontmatter, dict):
        raise DefinitionError(f"{where}: its front matter is no mapping; it has `name` and `description`")
    return frontmatter, content[end.end() :].strip()


def read_skill(folder: Path) -> Skill:
    """The skill in `folder`, at the level at which prompts have its description. Raises DefinitionError."""
    file = folder / SKILL_FILENAME
    where = shown(str(file))
    fields, body = parse_frontmatter(read(file).text, where)
    frontmatter = checked(fields, where)
    if folder.resolve().name != frontmatter.name:
        raise DefinitionError(
            f"{where}: its name is {frontmatter.name!r} and its folder's {folder.resolve().name!r}; give both the same"
        )
    _check_length(body, where)
    return Skill(frontmatter=frontmatter, path=folder).with_body(body)


def inline_skill(content: str, where: str) -> Skill:
    """The skill in the text `content`; prompts have its instructions. Raises DefinitionError."""
    fields, body = parse_frontmatter(content.strip(), where)
    _check_length(body, where)
    return Skill(frontmatter=checked(fields, where), instructions=body, path=Path(), disclosure_level=INSTRUCTIONS)


def checked(fields: dict[str, Any], where: str) -> SkillFrontmatter:
    """`fields` as front matter. Raises DefinitionError."""
    try:
        return SkillFrontmatter(**{str(key): value for key, value in fields.items()})
    except ValidationError as invalid:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors(include_url=False)]
        raise DefinitionError("\n".join(f"{where}: {fault}" for fault in faults)) from None


def _check_length(body: str, where: str) -> None:
    if len(body) > MAX_BODY_CHARS:
        warnings.warn(
            f"{where}: its instructions have {len(body):,} characters, which fill much of a model's context; move "
            "parts of them into files beside it",
            CrewrunWarning,
            stacklevel=3,
        )
