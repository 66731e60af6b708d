"""Knowledge of agents: `source` has CrewAI's classes of sources, `KnowledgeBase` decides how much goes into prompts.

`places` finds the files, `readers` turns them into text, `chunks` cuts text into passages, and `ranking` chooses among
them by the words of a task. The modules have the names of CrewAI's.
"""

from crewrun.knowledge.knowledge import Knowledge
from crewrun.knowledge.knowledge_config import KnowledgeConfig

__all__ = ["Knowledge", "KnowledgeConfig"]
