"""What a completion says: its answer, reasoning, tool calls and how it ended. No transport is known here."""
