"""What limits the calls of a run: whether an endpoint works, how fast it may be called, and what calls may cost."""
