"""`Skill` and its front matter."""

import os
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

# How much of a skill a prompt has from the start: its description, or its instructions too.
METADATA: Final = 1
INSTRUCTIONS: Final = 2
RESOURCES: Final = 3

# A folder with more files is a data set, no skill.
MAX_FILES = 1_000


class SkillFrontmatter(BaseModel):
    """What stands between the `---` of a SKILL.md."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$")
    description: str = Field(min_length=1, max_length=1024)
    license: str | None = None
    compatibility: str | None = Field(default=None, max_length=500)
    metadata: dict[str, Any] | None = None
    allowed_tools: list[str] | None = Field(default=None, alias="allowed-tools")

    @field_validator("allowed_tools", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split() if isinstance(value, str) else value


class Skill(BaseModel):
    """A skill: its front matter, and its instructions from `disclosure_level` 2 on.

    At level 1 an agent is told name and description, and loads the instructions when it needs them. `path` is the
    skill's folder.
    """

    frontmatter: SkillFrontmatter
    instructions: str | None = None
    path: Path
    disclosure_level: int = Field(default=METADATA, ge=METADATA, le=RESOURCES)
    resource_files: dict[str, list[str]] | None = None

    _body: str | None = PrivateAttr(default=None)

    @property
    def name(self) -> str:
        """The name in the front matter."""
        return self.frontmatter.name

    @property
    def description(self) -> str:
        """What it is for."""
        return self.frontmatter.description

    @property
    def body(self) -> str:
        """The instructions, whatever of them the prompt has."""
        return self.instructions or self._body or ""

    @property
    def is_inline(self) -> bool:
        """Whether it was written into the crew, and has no folder."""
        return self._body is None

    def with_body(self, body: str) -> "Skill":
        """This skill, whose SKILL.md says `body`."""
        self._body = body
        return self

    def with_disclosure_level(
        self, level: int, instructions: str | None = None, resource_files: dict[str, list[str]] | None = None
    ) -> "Skill":
        """The same skill at another level."""
        update = {"disclosure_level": level, "instructions": instructions or self.instructions}
        return self.model_copy(update={**update, "resource_files": resource_files or self.resource_files})

    def files(self) -> list[str]:
        """The paths of the files below its folder but SKILL.md, at most `MAX_FILES`; neither hidden ones nor FIFOs."""
        if self.is_inline:
            return []
        found: list[str] = []
        for folder, folders, names in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths = (os.path.relpath(os.path.join(folder, name), self.path) for name in sorted(names))
            shown = (path for path in paths if path != "SKILL.md" and not os.path.basename(path).startswith("."))
            found += [path for path in shown if (self.path / path).is_file()]
            if len(found) >= MAX_FILES:
                break
        return found[:MAX_FILES]

    def __fingerprint__(self) -> dict[str, Any]:
        """All that an agent can learn by it."""
        files = {path: _digest(self.path / path) for path in self.files()}
        about = {"name": self.name, "description": self.description, "body": self.body}
        return {**about, "level": self.disclosure_level, "files": files}


def _digest(path: Path) -> str:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return file_digest(file, partial(blake2b, digest_size=16)).hexdigest()
    except OSError:
        return ""
