"""`SkillCatalog`: an agent's skills, as a part of its prompt and as the tool that loads them."""

from collections.abc import Sequence
from functools import cached_property

from crewrun.knowledge.knowledge_base import tokens_in
from crewrun.knowledge.knowledge_config import MAX_TOKENS
from crewrun.skills.models import INSTRUCTIONS, Skill
from crewrun.skills.tool import LOAD_SKILL_TOOL_NAME, loader_of
from crewrun.tools.toolbox import NO_TOOLS, Toolbox, wire_name


class SkillCatalog:
    """The skills of one agent. The prompt has the instructions of disclosed skills, and the descriptions of the others.

    It never changes, and serves any number of rows at once.
    """

    def __init__(self, skills: Sequence[Skill]) -> None:
        self.skills = tuple(skills)
        self._toolboxes: dict[int, tuple[Toolbox, Toolbox]] = {}

    @cached_property
    def loadable(self) -> dict[str, Skill]:
        """The skills that an agent may load, by name."""
        return {skill.name: skill for skill in self.skills if skill.disclosure_level < INSTRUCTIONS}

    def prompt(self, own: Toolbox) -> str:
        """The text about its skills in an agent's prompt. `own` are the agent's other tools."""
        disclosed = [_block(skill, skill.body) for skill in self.skills if skill.disclosure_level >= INSTRUCTIONS]
        parts = ["<skills>\n" + "\n\n".join(disclosed) + "\n</skills>"] if disclosed else []
        if self.loadable:
            entries = "\n\n".join(_block(skill) for skill in self.loadable.values())
            parts.append(
                "<available_skills>\n"
                "You know these skills by name only. Where one fits the request, call "
                f"`{self._tool_name(own)}` with its name and follow the instructions that you get; most requests need "
                f"none.\n\n{entries}\n</available_skills>"
            )
        return "\n\n".join(parts)

    def why_large(self) -> str | None:
        """The warning for a catalog that takes more of each prompt than knowledge may; None if it does not."""
        tokens = tokens_in(self.prompt(NO_TOOLS))
        if tokens <= MAX_TOKENS:
            return None
        return (
            f"its {len(self.skills)} skills take about {tokens:,} tokens of each prompt; name the folders of those "
            "that it needs, or move instructions into files beside SKILL.md"
        )

    def toolbox(self, own: Toolbox) -> Toolbox:
        """`own` with the tool that loads skills, created once for each toolbox."""
        if not self.loadable:
            return own
        if id(own) not in self._toolboxes:
            tool = loader_of(self.loadable, self._tool_name(own))
            # The entry refers to `own`, so that no other toolbox can get its id.
            self._toolboxes[id(own)] = (Toolbox([*own.entries, tool]), own)
        return self._toolboxes[id(own)][0]

    def _tool_name(self, own: Toolbox) -> str:
        """A name that none of the agent's tools has."""
        name, number = LOAD_SKILL_TOOL_NAME, 2
        while wire_name(name) in own.tools:
            name, number = f"{LOAD_SKILL_TOOL_NAME}_{number}", number + 1
        return name


def _block(skill: Skill, instructions: str = "") -> str:
    about = f"{skill.description}\n\n{instructions}" if instructions else skill.description
    return f'<skill name="{skill.name}">\n{about}\n</skill>'
