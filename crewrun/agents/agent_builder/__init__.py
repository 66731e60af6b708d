"""CrewAI's import path for `BaseAgent`."""
