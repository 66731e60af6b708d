"""Runs rows on workers elsewhere, over anything that carries bytes to them and back.

`packaging` packs the crew. A `pool` has workers, each with a `client` here and a `server` there, which exchange
`messages` over a `channel`. A row on its way to a worker is an `assignment`. A worker's `limiter` and `recorder` call
the run's limiters, journal and cache, which answer in `run_service`.
"""
