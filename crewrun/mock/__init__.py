"""`crewrun mock`: an OpenAI-compatible server for trials and tests, which bills nobody and fails on demand.

Here: the requests it takes (`chat`), what it answers (`answers`) and how words in a prompt change that (`directives`),
how it fails (`faults`) and when it has had enough (`rate_limits`), what goes out (`replies`), what it remembers
(`ledger`), and all that over HTTP (`server`). The command with its flags is `crewrun.cli.mock`.
"""
