"""`crewrun mock`: an OpenAI-compatible server to try out and test crews, which costs nothing and fails on demand.

`chat` and `embeddings` read requests, `answers` decides what to answer, `faults` and `rate_limits` when to fail, and
`replies` writes that as HTTP bodies. `ledger` remembers all requests, and `server` has the endpoints. The command and
its flags are in `crewrun.cli.mock`.
"""
