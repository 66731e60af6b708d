"""`Background`: an agent's knowledge and skills."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from crewrun.knowledge.embedded_passages import EmbeddedPassages
from crewrun.knowledge.knowledge import Knowledge
from crewrun.knowledge.knowledge_base import KnowledgeBase
from crewrun.knowledge.knowledge_config import KnowledgeConfig
from crewrun.knowledge.source.base_file_knowledge_source import BaseFileKnowledgeSource
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewrun.llm.embeddings import embedder_of
from crewrun.llm.gateway import Gateway
from crewrun.row_context import RowContext
from crewrun.skills.catalog import SkillCatalog
from crewrun.skills.models import Skill
from crewrun.skills.parser import SKILL_FILENAME
from crewrun.tools.toolbox import Toolbox

_DEFAULT = KnowledgeConfig()


class Knows(Protocol):
    """The part of an agent or a crew that is needed here: its knowledge and skills."""

    knowledge: Knowledge | None
    knowledge_sources: list[BaseKnowledgeSource] | None
    knowledge_config: KnowledgeConfig | None
    skills: list[Skill] | None
    embedder: Any


class Background(NamedTuple):
    """One agent's knowledge and skills; either may be None.

    `embedded` chooses passages by an embedding model, if the crew names one that crewrun can call; `unused_embedder` is
    the provider of one that it cannot.
    """

    knowledge: KnowledgeBase | None = None
    skills: SkillCatalog | None = None
    embedded: EmbeddedPassages | None = None
    unused_embedder: str | None = None

    def system_text(self, own: Toolbox) -> str:
        """The text for the system turn, the same for all rows. `own` are the agent's other tools."""
        parts = []
        if self.knowledge is not None and self.knowledge.whole:
            parts.append(
                f"What you know, to be used where it helps:\n<knowledge>\n{self.knowledge.whole}\n</knowledge>"
            )
        if self.skills is not None:
            parts.append(self.skills.prompt(own))
        return "\n\n".join(parts)

    async def chosen_for(self, query: str, gateway: Gateway, row_context: RowContext) -> str:
        """The passages nearest to `query`; empty if the system turn has all of the knowledge.

        Calls the embedding model, if there is one and the run is not offline. Raises what a call does.
        """
        if self.embedded is None or gateway.is_offline:
            return self.passages_for(query)
        return await self.embedded.nearest(query, gateway, row_context)

    def passages_for(self, query: str) -> str:
        """As `chosen_for`, by shared words, without an embedding model."""
        return self.knowledge.passages_for(query) if self.knowledge is not None else ""

    def toolbox(self, own: Toolbox) -> Toolbox:
        """`own`, with the tool that loads skills if there are any."""
        return own if self.skills is None else self.skills.toolbox(own)


NO_BACKGROUND = Background()


class Backgrounds:
    """Builds backgrounds, once for each combination of parts."""

    def __init__(self) -> None:
        # By the ids of the parts. The entry refers to the parts, so that no other object can get one of their ids.
        self._backgrounds: dict[tuple[int, ...], tuple[list[Any], Background]] = {}

    def of(self, *owners: Knows) -> Background:
        """The background of an agent, with its crew's if that is the second argument. Raises DefinitionError."""
        sources, skills = _sources(owners), _skills(owners)
        if not sources and not skills:
            return NO_BACKGROUND
        config = next((owner.knowledge_config for owner in owners if owner.knowledge_config is not None), _DEFAULT)
        spec = next((owner.embedder for owner in owners if owner.embedder is not None), None)
        parts = [*sources, *skills, config, spec]
        key = tuple(map(id, parts))
        if key not in self._backgrounds:
            base = KnowledgeBase.of(sources, config) if sources else None
            background = Background(base, SkillCatalog(skills) if skills else None)
            self._backgrounds[key] = (parts, background if spec is None else _with_embedder(background, spec))
        return self._backgrounds[key][1]


def _with_embedder(background: Background, spec: Any) -> Background:
    if background.knowledge is None or not background.knowledge.passages:
        return background
    if (embedder := embedder_of(spec)) is None:
        provider = spec.get("provider") if isinstance(spec, Mapping) else type(spec).__name__
        return background._replace(unused_embedder=str(provider))
    return background._replace(embedded=EmbeddedPassages(background.knowledge, embedder))


def _sources(owners: Sequence[Knows]) -> list[BaseKnowledgeSource]:
    sources: list[BaseKnowledgeSource] = []
    for owner in owners:
        if owner.knowledge is None and not owner.knowledge_sources:
            continue  # the common case
        for source in (*(owner.knowledge.sources if owner.knowledge else ()), *(owner.knowledge_sources or ())):
            if not any(source is other for other in sources):
                sources.append(source)
    return sources


def _skills(owners: Sequence[Knows]) -> list[Skill]:
    """The skills of all owners; if two have the same name, the agent's own."""
    skills: dict[str, Skill] = {}
    for owner in owners:
        for skill in owner.skills or ():
            skills.setdefault(skill.name, skill)
    return list(skills.values())


def has_background(owners: Sequence[Knows]) -> bool:
    """Whether one of `owners` has any knowledge or skills."""
    return any(owner.knowledge is not None or owner.knowledge_sources or owner.skills for owner in owners)


def files_of(owners: Sequence[Knows]) -> frozenset[str]:
    """The files of the knowledge and skills of `owners`."""
    files: list[Path] = []
    for source in _sources(owners):
        files += source.safe_file_paths if isinstance(source, BaseFileKnowledgeSource) else []
    for skill in _skills(owners):
        if not skill.is_inline:
            files += [skill.path / name for name in (SKILL_FILENAME, *skill.files())]
    return frozenset(str(file.absolute()) for file in files)
