"""CrewAI's import path for `UsageMetrics`."""
