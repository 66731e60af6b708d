"""CrewAI's import path for the user's own models: `crewai.llms.base_llm`."""
