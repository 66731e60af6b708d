"""Event loops, threads and signals. Nothing in here knows what a model is."""
