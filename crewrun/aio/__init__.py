"""Event loops, threads and signals. Nothing here knows about models."""
