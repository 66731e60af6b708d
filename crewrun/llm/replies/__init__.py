"""Interprets completions: the answer, reasoning, tool calls, and how they ended. Independent of any transport."""
