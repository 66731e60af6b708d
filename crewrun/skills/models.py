"""`Skill` and its front matter."""

import os
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

# How much of a skill is in prompts from the start: its description, or its instructions too.
METADATA: Final = 1
INSTRUCTIONS: Final = 2
RESOURCES: Final = 3

# The most files of a skill that are listed and fingerprinted; a folder with more is a data set, not a skill.
MAX_FILES = 1_000


class SkillFrontmatter(BaseModel):
    """The YAML between the two `---` of a SKILL.md."""

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
    """A skill: its front matter, and from `disclosure_level` 2 on its instructions.

    At level 1, prompts have its name and description, and an agent loads the instructions when it needs them. `path` is
    the skill's folder.
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
        """The description in the front matter."""
        return self.frontmatter.description

    @property
    def body(self) -> str:
        """The instructions, whether prompts have them or not."""
        return self.instructions or self._body or ""

    @property
    def is_inline(self) -> bool:
        """Whether the crew's definition contains it, so that it has no folder."""
        return self._body is None

    def with_body(self, body: str) -> "Skill":
        """This skill, with `body` as the instructions of its SKILL.md."""
        self._body = body
        return self

    def with_disclosure_level(
        self, level: int, instructions: str | None = None, resource_files: dict[str, list[str]] | None = None
    ) -> "Skill":
        """The same skill at another level."""
        update = {"disclosure_level": level, "instructions": instructions or self.instructions}
        return self.model_copy(update={**update, "resource_files": resource_files or self.resource_files})

    def files(self) -> list[str]:
        """The paths of at most `MAX_FILES` regular files below its folder, without SKILL.md and hidden ones."""
        if self.is_inline:
            return []
        files: list[str] = []
        for folder, folders, names in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths = (os.path.relpath(os.path.join(folder, name), self.path) for name in sorted(names))
            visible = (path for path in paths if path != "SKILL.md" and not os.path.basename(path).startswith("."))
            files += [path for path in visible if (self.path / path).is_file()]
            if len(files) >= MAX_FILES:
                break
        return files[:MAX_FILES]

    def __fingerprint__(self) -> dict[str, Any]:
        """Everything that an agent can read of it."""
        files = {path: _digest(self.path / path) for path in self.files()}
        about = {"name": self.name, "description": self.description, "body": self.body}
        return {**about, "level": self.disclosure_level, "files": files}


def _digest(path: Path) -> str:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return file_digest(file, partial(blake2b, digest_size=16)).hexdigest()
    except OSError:
        return ""
