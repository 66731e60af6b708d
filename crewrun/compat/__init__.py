"""Names that moved or that CrewAI has elsewhere: what lets code written for them go on importing."""
