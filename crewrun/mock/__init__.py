"""`crewrun mock`: an OpenAI-compatible server for rehearsals and tests, which bills nobody and fails on demand.

Here: what it answers (`server`), how it fails (`faults`) and what it remembers (`ledger`). The command with its
flags is `crewrun.cli.mock`.
"""
