"""`crewrun mock`: a server of OpenAI's, Anthropic's and Gemini's APIs to try out and test crews, which costs nothing
and fails on demand.

    server → mock → endpoints: calls, files, openai_batches and those of other wires, controls
                    calls      reads requests by a wire, fails or answers them, and records them in the ledger
                    wires      openai_chat, openai_responses, anthropic_messages, gemini_content: how a provider
                               writes all that

`answers` decides what to answer, `faults` and `rate_limits` when to fail. `batch_jobs` go on by the mock's `clock`, and
`job_faults` is what goes wrong with them. The command and its flags are in `crewrun.cli.mock`.
"""
