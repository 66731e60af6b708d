"""A batch from its input to its results: source → engine → order → sink → progress, put together in `run`."""
