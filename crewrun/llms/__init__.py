"""CrewAI's import path for models of the user's own: `crewai.llms.base_llm`."""
