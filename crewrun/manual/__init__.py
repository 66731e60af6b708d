"""The manual: one Markdown page per subject, in this folder, so that it is there wherever crewrun is installed.

`crewrun help` shows the pages (`cli/help.py`); the README links to them.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

# In the order of the list that `crewrun help` prints: what a newcomer needs first.
TOPICS = (
    "recipes",
    "models",
    "offline",
    "mock-server",
    "crews",
    "tools",
    "mcp",
    "knowledge",
    "files",
    "python-files",
    "tables",
    "rows",
    "resuming",
    "inspecting",
    "scores",
    "reports",
    "overnight",
    "telemetry",
    "money",
    "machines",
    "flags",
    "flows",
    "python",
    "troubleshooting",
    "performance",
)


@dataclass(frozen=True)
class Page:
    """One page: its topic, and its Markdown. The first line is the title, the first paragraph one sentence."""

    topic: str
    text: str

    @property
    def title(self) -> str:
        """The heading, without its mark."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @cached_property
    def summary(self) -> str:
        """What the page is about, in one sentence on one line."""
        paragraph = self.text.split("\n\n", 2)[1]
        return " ".join(paragraph.split())


def page(topic: str) -> Page:
    """The page of one of `TOPICS`."""
    return Page(topic, files(__name__).joinpath(f"{topic}.md").read_text(encoding="utf-8"))
