"""CrewAI's classes of knowledge sources, in modules with CrewAI's names."""
