"""Batch jobs: many requests in one upload, answered within a day at half the price.

`job` has the values and the protocol `BatchApi`, which `openai_api`, `anthropic_api`, `mistral_api` and `gemini_api`
implement, one for each wire; `openai_wires` is how Azure and Together differ from OpenAI, and `accounts` where an
endpoint's jobs are.
"""
