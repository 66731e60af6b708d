"""CrewAI's classes of knowledge sources, each in the module that CrewAI has it in."""
