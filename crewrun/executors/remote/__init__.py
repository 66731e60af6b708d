"""Rows on workers elsewhere, over whatever carries bytes to them and back.

`packaging` makes a package of the crew. A `pool` has workers, each with a `client` here and a `server` there; they send
each other `messages` over a `channel`. `services` are the run's limits, journal and cache as a worker has them. A row
that workers are given is an `assignment`.
"""
