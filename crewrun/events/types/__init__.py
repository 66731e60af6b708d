"""The events that crewrun sends, in CrewAI's modules. `never_sent` has the names of the others."""
