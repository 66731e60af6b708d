"""The README and the pages of the manual, as tests read them: prose, headings, blocks of code, commands."""

import re
from dataclasses import dataclass
from pathlib import Path

from support.paths import MANUAL, README

DOCUMENTS = [README, *sorted(MANUAL.glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$|^((?:    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code. `language` is what the fence says; an indented block is `sh`."""

    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The command lines of a block of `sh`, continued lines joined, without comments of their own line."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def prose(document: Path) -> str:
    """The text without its code."""
    return _BLOCK.sub("", document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    """What GitHub calls the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def sections(document: Path) -> dict[str, str]:
    """The text under each `## heading`, up to the next heading of that kind."""
    parts = re.split(r"^## (.*)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str, language: str) -> list[Block]:
    """The blocks of code in that language, in their order."""
    matches = _BLOCK.finditer(text)
    every = [
        Block("sh", re.sub(r"^    ", "", match[3], flags=re.MULTILINE)) if match[3] else Block(match[1], match[2])
        for match in matches
    ]
    return [block for block in every if block.language == language]
