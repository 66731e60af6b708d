"""What agents know: `source` has CrewAI's classes of sources, `KnowledgeBase` is what prompts are given of them.

`places` finds the files, `readers` turn them into text, `chunks` cuts it into passages, and `ranking` chooses among
them by the words of a task. CrewAI's import paths are the modules' names.
"""

from crewrun.knowledge.knowledge import Knowledge
from crewrun.knowledge.knowledge_config import KnowledgeConfig

__all__ = ["Knowledge", "KnowledgeConfig"]
