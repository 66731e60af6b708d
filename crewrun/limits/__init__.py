"""Permission to send: budgets, circuit breakers, rate and concurrency limits, and what they learn.

Nothing here knows a transport: calls arrive as estimates of tokens and money, and end as a `CallResult`.
"""
