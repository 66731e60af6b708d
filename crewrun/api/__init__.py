"""The durable batch as a function: `batch` has `run_batch` and `arun_batch`, `run` the `Run` that they return.

`settings` checks keyword arguments, `crews` makes a definition of any crew, `places` says where a run lives that names
no output, `thread` runs a batch for sync code, `progress` chooses what is shown of it.
"""
