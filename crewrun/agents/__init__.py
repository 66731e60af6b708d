"""CrewAI's import paths for what agents are and what their steps say."""
