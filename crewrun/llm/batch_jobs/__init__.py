"""Batch jobs: many requests in one upload, answered within a day at half the price.

`job` has the values and the protocol `BatchApi`, which `openai_api` and `anthropic_api` implement.
"""
